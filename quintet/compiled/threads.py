"""Jobs side by side, on the threads that PyTorch's operators have.

These wait for the next operator awake, for some milliseconds: a thread of our own beside them would
have to share its core with one that does nothing (docs/log.md, 2026-11-29).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch


def _library() -> Any:
    """Of OpenMP, the one that PyTorch is linked with; None where it has no such interface."""
    try:
        # What is looked for there is looked for in what it is linked with, too.
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return library if library.GOMP_parallel and library.omp_get_thread_num else None
    except (OSError, AttributeError):
        return None


_openmp = _library()
_part = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_pool = ThreadPoolExecutor(thread_name_prefix="compiled")


def side_by_side(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """What the jobs give, which compiled functions let run beside one another. When this returns or
    raises, all have ended. (As with PyTorch's operators, not in a process that was forked after
    they had run.)"""
    if len(jobs) < 2:
        return [job() for job in jobs]
    return _by_pool(jobs) if _openmp is None else _by_team(jobs)


def _by_team(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    made: dict[int, Any] = {}
    errors: list[BaseException] = []

    def part(_: object) -> None:
        try:
            # A team may be smaller than was asked for.
            first, team = _openmp.omp_get_thread_num(), _openmp.omp_get_num_threads()
            for index in range(first, len(jobs), team):
                made[index] = jobs[index]()
        except BaseException as error:
            errors.append(error)

    # A smaller team than an operator's would end the other threads, to be started anew.
    _openmp.GOMP_parallel(_part(part), None, max(len(jobs), torch.get_num_threads()), 0)
    if errors:
        raise errors[0]
    if len(made) < len(jobs):  # interrupted before `part` could catch it
        main = threading.current_thread() is threading.main_thread()
        raise KeyboardInterrupt if main else RuntimeError("A thread did not begin its job.")
    return [made[index] for index in range(len(jobs))]


def _by_pool(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    others = [_pool.submit(job) for job in jobs[1:]]
    try:
        return [job() for job in jobs[:1]] + [other.result() for other in others]
    finally:
        wait(others)
