"""What the server counts, and its text for Prometheus."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import Counter, deque
from pathlib import Path

import numpy as np

RECENT_STEPS = 500  # that the quantiles speak of
ALIKE_STEPS = 20  # of them, 5 s, by which it is judged what a step of so many sessions takes
REASONS = ("full", "busy", "draining", "origin", "key", "beta")  # for which there is no session
# Upper ends, in seconds, of the classes in which ticks are counted; the next tick is at 0.25.
TICK_CLASSES = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.375, 0.5, 1.0)


class Metrics:
    """Counts since the server began. Only the event loop writes here, so no lock is needed."""

    def __init__(self, max_sessions: int) -> None:
        self.max_sessions = max_sessions
        self.sessions = 0
        self.draining = False  # no session begins any more, for the server is about to stop
        self.started = time.time()
        self.steps = 0
        self.step_seconds_sum = 0.0
        self.skipped_steps = 0  # deadlines missed because the model was late
        self.errors = 0  # messages of clients that were refused
        self.rejected: Counter[str] = Counter()  # connections that got no session, by reason
        self.closed: Counter[int] = Counter()  # sessions that the server ended, by close code
        self.responses: Counter[str] = Counter()  # of the Realtime API, by how they ended
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT_STEPS)  # seconds, sessions
        self._ticks = [0] * (len(TICK_CLASSES) + 1)  # by class; the last is of all that were later
        self._tick_seconds_sum = 0.0

    def record_step(self, seconds: float, sessions: int) -> None:
        """One step of the engine, which was one of so many sessions together, took `seconds`."""
        self.steps += 1
        self.step_seconds_sum += seconds
        self._recent.append((seconds, sessions))

    def record_tick(self, seconds: float) -> None:
        """A session's answer was there `seconds` after the tick that asked for it."""
        self._ticks[int(np.searchsorted(TICK_CLASSES, seconds))] += 1
        self._tick_seconds_sum += seconds

    def step_seconds(self, quantile: float) -> float:
        """That quantile of the recent steps; 0 before the first."""
        recent = list(self._recent)  # at once: other threads ask, too
        return float(np.quantile([seconds for seconds, _ in recent], quantile)) if recent else 0.0

    def seconds_with_one_more(self) -> float:
        """What a step of one session more would take; 0 where nobody is here, or before the first.

        Judged by the last steps of as many sessions as are here, or of the numbers next to it: what
        others took before the rest left, or came, says little. A step of twice as many takes twice
        as long at most.
        """
        if not self.sessions:
            return 0.0
        recent = reversed(list(self._recent))
        alike = sorted(recent, key=lambda step: abs(step[1] - self.sessions))[:ALIKE_STEPS]
        needed = [seconds * (self.sessions + 1) / sessions for seconds, sessions in alike]
        return float(np.median(needed)) if needed else 0.0

    def prometheus(self) -> str:
        """Every number, in Prometheus' text format."""
        lines = [
            *_metric("quintet_sessions", "gauge", "Live sessions now.", self.sessions),
            *_metric("quintet_sessions_max", "gauge", "Places for sessions.", self.max_sessions),
            *_metric(
                "quintet_draining", "gauge", "1 when the server is about to stop.",
                int(self.draining),
            ),
            "# HELP quintet_step_seconds Time to compute one step of all sessions.",
            "# TYPE quintet_step_seconds summary",
            *(
                f'quintet_step_seconds{{quantile="{q}"}} {self.step_seconds(q):.6f}'
                for q in (0.5, 0.99)
            ),
            f"quintet_step_seconds_sum {self.step_seconds_sum:.6f}",
            f"quintet_step_seconds_count {self.steps}",
            *_histogram(
                "quintet_tick_seconds", "From a tick of the clock to a session's answer.",
                TICK_CLASSES, self._ticks, self._tick_seconds_sum,
            ),
            *_metric(
                "quintet_skipped_steps_total", "counter",
                "Steps whose deadline passed before the model was free.", self.skipped_steps,
            ),
            *_metric(
                "quintet_errors_total", "counter", "Messages that were refused.", self.errors
            ),
            *_labelled(
                "quintet_rejected_total", "Connections that got no session.", "reason",
                dict.fromkeys(REASONS, 0) | self.rejected,
            ),
            *_labelled(
                "quintet_closed_total", "Sessions that the server ended.", "code",
                {1001: 0, 1008: 0, 1011: 0, 1013: 0, 4000: 0} | self.closed,
            ),
            *_labelled(
                "quintet_responses_total", "Responses of the Realtime API.", "status",
                {"completed": 0, "cancelled": 0, "incomplete": 0} | self.responses,
            ),
            *_metric(
                "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes()
            ),
            *_metric(
                "process_cpu_seconds_total", "counter", "Processor time.", time.process_time()
            ),
            *_metric(
                "process_start_time_seconds", "gauge", "When the server began.", self.started
            ),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Memory of this process that is resident; the peak of it where the system tells no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1_024 * peak
    return pages * os.sysconf("SC_PAGE_SIZE")


def _metric(name: str, kind: str, description: str, value: float) -> list[str]:
    return [f"# HELP {name} {description}", f"# TYPE {name} {kind}", f"{name} {value}"]


def _labelled(
    name: str, description: str, label: str, values: dict[str, int] | dict[int, int]
) -> list[str]:
    return [
        f"# HELP {name} {description}",
        f"# TYPE {name} counter",
        *(f'{name}{{{label}="{key}"}} {value}' for key, value in values.items()),
    ]


def _histogram(
    name: str, description: str, ends: tuple[float, ...], counts: list[int], total: float
) -> list[str]:
    """`counts` of each class, the last of what is beyond all `ends`."""
    running = np.cumsum(counts)
    return [
        f"# HELP {name} {description}",
        f"# TYPE {name} histogram",
        *(
            f'{name}_bucket{{le="{end}"}} {count}'
            for end, count in zip((*ends, "+Inf"), running, strict=True)
        ),
        f"{name}_sum {total:.6f}",
        f"{name}_count {running[-1]}",
    ]
