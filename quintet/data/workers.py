"""Those who share work: this process, others of this machine, or a cluster's (`cluster.py`)."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

Each = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[None]]


class WorkerDied(Exception):
    """A process ended in the middle of its job, as one does that is killed."""


class Workers(Protocol):
    """Each worker calls `prepare(*given)` before its first job; what is made in a job is a file.

    Jobs are functions and values that can be pickled.
    """

    def start(self, prepare: Callable[..., None], *given: Any) -> AbstractContextManager[Each]:
        """A function that does jobs, `each(act, jobs)`: it yields once for each `act(job)` that is
        done, in whatever order, and raises what a job or its preparation raises.

        Raises:
            WorkerDied: of some jobs it is unknown whether they were done.
        """

    def one(self) -> Workers:
        """A single one of them, apart, whose death says something about its job."""


class Here:
    """This process alone."""

    @contextmanager
    def start(self, prepare: Callable[..., None], *given: Any) -> Iterator[Each]:
        prepare(*given)
        yield _each_here

    def one(self) -> Here:
        return self


def _each_here(act: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[None]:
    for job in jobs:
        act(job)
        yield


@dataclass(frozen=True)
class Processes:
    """New processes of this machine, which end with the one that started them."""

    count: int

    @contextmanager
    def start(self, prepare: Callable[..., None], *given: Any) -> Iterator[Each]:
        with start_pool(self.count, prepare, *given) as pool:

            def each(act: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[None]:
                return _each_in(pool, 2 * self.count, act, jobs)

            try:
                yield each
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def one(self) -> Processes:
        return Processes(1)


def _each_in(
    pool: ProcessPoolExecutor, ahead: int, act: Callable[[Any], Any], jobs: Sequence[Any]
) -> Iterator[None]:
    waiting, running = iter(jobs), set[Future[Any]]()
    try:
        while True:
            for job in islice(waiting, ahead - len(running)):
                running.add(pool.submit(act, job))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                yield
    except BrokenProcessPool:
        raise WorkerDied from None


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
