"""Processes that make data: spawned, so that each begins alike, and gone when their parent is."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def worker_pool(
    processes: int, start: Callable[..., None], arguments: tuple[Any, ...]
) -> ProcessPoolExecutor:
    """A pool whose processes each call `start(*arguments)` first."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, context, _start, (start, arguments))


def _start(start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start(*arguments)


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers, which would go on making its data."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
