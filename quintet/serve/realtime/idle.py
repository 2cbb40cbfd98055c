"""The idle timeout: after so long a silence of both, the model has a turn without being asked."""

from __future__ import annotations

STEP_MS = 250


class IdleTimer:
    """Counts steps in which nobody speaks, from the end of what the client still plays."""

    def __init__(self) -> None:
        self.quiet = 0  # steps; below 0: that the client still plays
        self.since_ms = 0  # of the input's sound, when the silence began

    def played(self, steps: int) -> None:
        """A response has ended, of which the client still plays so many steps."""
        self.quiet = -steps

    def step(self, limit_ms: int | None, busy: bool, now_ms: int) -> bool:
        """Count a step in which somebody was `busy` or not; true when the silence has lasted."""
        if limit_ms is None or busy:
            self.quiet = min(self.quiet, 0)
        if busy or self.quiet <= 0:
            self.since_ms = now_ms
        if limit_ms is None or busy:
            return False
        self.quiet += 1
        if self.quiet * STEP_MS < limit_ms:
            return False
        self.quiet = 0
        return True
