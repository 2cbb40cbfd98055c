"""Batches made ahead by a thread, so that the training does not wait for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

AHEAD = 2  # batches that may wait


class Prefetch:
    """`make(step)` for every step from `first` to before `last`, in order, in a thread of its own.
    What it raises is raised where the batch is taken. To be used with `with`."""

    def __init__(self, make: Callable[[int], Any], first: int, last: int) -> None:
        self._make, self._steps = make, range(first, last)
        self._made: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Prefetch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stopped.set()
        while self._thread.is_alive():
            try:  # it may be waiting for room
                self._made.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def take(self) -> Any:
        """The next batch; waits for it if it is not there yet."""
        batch, error = self._made.get()
        if error is not None:
            raise error
        return batch

    def _run(self) -> None:
        for step in self._steps:
            try:
                made: tuple[Any, BaseException | None] = (self._make(step), None)
            except BaseException as error:
                made = (None, error)
            self._made.put(made)
            if self._stopped.is_set() or made[1] is not None:
                return
