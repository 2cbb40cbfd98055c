"""Processes that share work and end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def start_pool(processes: int, prepare: Callable[..., None], *given: Any) -> ProcessPoolExecutor:
    """New processes, each of which calls `prepare(*given)` before its first work."""
    return ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _start, (prepare, given)
    )


def _start(prepare: Callable[..., None], given: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(*given)


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers, which would go on making its shards."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
