"""Jobs side by side, on the threads that PyTorch's operators have.

These wait for the next operator awake, for some milliseconds: a thread of our own beside them would
have to share its core with one that does nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch  # loads the library of threads

NAMES = ("libgomp", "libiomp5")  # which give the same interface


def _library() -> Any:
    """Of the threads, which is the one that is already here; None where there is none that we know
    how to ask."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return None
    paths = {line.split(maxsplit=5)[-1] for line in maps.splitlines() if ".so" in line}
    found = sorted(path for path in paths if Path(path).name.startswith(NAMES))
    # Of several, that of PyTorch.
    home = str(Path(torch.__file__).parent)
    found = [path for path in found if path.startswith(home)] or found
    if len(found) != 1:
        return None
    library = ctypes.CDLL(found[0])
    return library if hasattr(library, "GOMP_parallel") else None


_openmp = _library()
_part = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_pool = ThreadPoolExecutor(thread_name_prefix="compiled")


def side_by_side(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """What the jobs give, which compiled functions let run beside one another. When this returns or
    raises, all have ended."""
    if len(jobs) < 2:
        return [job() for job in jobs]
    return _by_pool(jobs) if _openmp is None else _by_team(jobs)


def _by_team(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    made: list[Any] = [None] * len(jobs)
    errors: list[BaseException] = []

    def part(_: object) -> None:
        # A team may be smaller than was asked for.
        for index in range(_openmp.omp_get_thread_num(), len(jobs), _openmp.omp_get_num_threads()):
            try:
                made[index] = jobs[index]()
            except BaseException as error:
                errors.append(error)

    _openmp.GOMP_parallel(_part(part), None, len(jobs), 0)
    if errors:
        raise errors[0]
    return made


def _by_pool(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    others = [_pool.submit(job) for job in jobs[1:]]
    try:
        return [job() for job in jobs[:1]] + [other.result() for other in others]
    finally:
        wait(others)
