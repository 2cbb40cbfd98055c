"""Stopping without cutting anybody off: SIGTERM lets those finish who are there."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from quintet.serve.metrics import Metrics

DRAIN_SECONDS = 25.0  # that a server waits for its sessions; Kubernetes kills after 30


class DrainingServer(uvicorn.Server):
    """Uvicorn that, on SIGTERM, first takes no new session and waits until nobody is left.

    Meanwhile /ready answers 503, so that a balancer sends people elsewhere. When `seconds` are
    over, whoever is still there is closed with 1012. A second SIGTERM or Ctrl-C stops at once.

    Args:
        busy: whether somebody would be cut off now.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        metrics: Metrics,
        busy: Callable[[], bool],
        seconds: float = DRAIN_SECONDS,
    ) -> None:
        super().__init__(config)
        self.metrics, self.busy, self.seconds = metrics, busy, seconds
        self._until = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGTERM:
            super().handle_exit(sig, frame)
        elif self.metrics.draining:
            self.should_exit = True
        else:
            self._until = time.monotonic() + self.seconds
            self.metrics.draining = True

    async def on_tick(self, counter: int) -> bool:
        if self.metrics.draining and (time.monotonic() >= self._until or not self.busy()):
            self.should_exit = True
        return await super().on_tick(counter)
