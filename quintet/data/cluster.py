"""Machines that share work: the processes of a Ray cluster, which Ray Data gives their jobs.

It takes the place of `workers.Processes`. All machines have the same version of Quintet, and see
the folder in which the command runs, and what it reads and writes, under the same names: what is
made is a file there, and only numbers go through Ray. A process or a machine that is lost costs
what it was at, which another does again.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from quintet.config import UserError
from quintet.data.workers import Each, WorkerDied
from quintet.tokenizers.folders import first_line

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # a person is told by sentences of ours

try:
    import ray
    import ray.data as ray_data
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError:
    raise UserError(
        "Work on many machines needs Ray Data; install the extra quintet[cluster]: "
        "pip install -c constraints.txt -e '.[cluster]'"
    ) from None

TRIES = 2  # of a job whose process is lost, by Ray itself; then it is told
SHARES = 64  # of the jobs, for each process: Ray hands them out by the share
KNOCK_SECONDS = 10  # at an address, until there is nobody
LOCAL_STORE = 100_000_000  # bytes of shared memory for a Ray that is begun here


@dataclass(frozen=True)
class Cluster:
    """Processes of a Ray cluster, each with a core of its own.

    Args:
        address: "auto", the cluster of which this machine is a part; HOST:PORT, the same by name;
            or "local", a cluster of this machine alone, for as long as it is used.
        count: of processes; None for as many as the cluster has cores.
        tries: of a job that ends its process.
    """

    address: str
    count: int | None = None
    tries: int = TRIES

    def one(self) -> Cluster:
        return replace(self, count=1, tries=1)

    @contextmanager
    def start(self, prepare: Callable[..., None], *given: Any) -> Iterator[Each]:
        """As `Workers.start`.

        Raises:
            UserError: there is no such cluster, or it falls to pieces.
        """
        began = not ray.is_initialized()
        if began:
            self._meet()

        def each(act: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[None]:
            return self._each(_Task(os.getcwd(), prepare, given, act, tuple(jobs)))

        try:
            yield each
        except ray.exceptions.RayError as error:
            raise UserError(
                f"The Ray cluster gave up ({_told(error)}); see that all its machines have "
                "this version of Quintet, and run the same command again, which keeps what is made."
            ) from None
        finally:
            if began:
                ray.shutdown()

    def _meet(self) -> None:
        if "://" in self.address:
            raise UserError(
                f"Ray's client ({self.address}) cannot share work; run the command on a machine of "
                "the cluster, with --ray auto."
            )
        more: dict[str, Any] = {}
        if self.address == "local":
            more = {"num_cpus": self.count, "object_store_memory": LOCAL_STORE}
        try:
            if self.address not in ("auto", "local"):  # Ray would knock for a minute and longer
                host, _, port = self.address.rpartition(":")
                socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
            ray.init(
                self.address, include_dashboard=False, log_to_driver=False,
                logging_level=logging.ERROR, **more,
            )  # fmt: skip
        except (OSError, RuntimeError, ValueError, AssertionError) as error:
            raise UserError(
                f"There is no Ray cluster at {self.address!r} ({_told(error)}); see that Ray "
                "runs there, in this version, and that this machine is a part of it."
            ) from None

    def _each(self, task: _Task) -> Iterator[None]:
        count = len(task.jobs)
        if not count:
            return
        cores = int(ray.cluster_resources().get("CPU", 0))
        size = min(count, self.count or max(1, cores))
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        worker: Any = _Worker  # Ray's types know functions only
        begun: Any = ray.remote(_Begun).options(num_cpus=0, scheduling_strategy=here).remote()
        _quieten()
        numbers = [{"job": number} for number in range(count)]
        dataset = ray_data.from_items(numbers, override_num_blocks=min(count, SHARES * size)).map(
            worker,
            fn_constructor_args=(task, begun, self.tries),
            compute=ray_data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
        )
        lost, made = False, iter(dataset.iter_rows())
        with closing(made):  # type: ignore[type-var]
            for row in made:
                if row["error"]:
                    raise pickle.loads(row["error"])  # of a process of ours, as all Ray's pickles
                lost = lost or row["lost"]
                if not row["lost"]:
                    yield
        if lost:
            raise WorkerDied


@dataclass(frozen=True)
class _Task:
    """What a process is told once."""

    folder: str
    prepare: Callable[..., None]
    given: tuple[Any, ...]
    act: Callable[[Any], Any]
    jobs: tuple[Any, ...]


class _Begun:
    """How often each job was begun, and which are done; it lives beside the command, whichever
    machines are lost."""

    def __init__(self) -> None:
        self.times: Counter[int] = Counter()
        self.done: set[int] = set()

    def again(self, job: int) -> int:
        """Which time it is that a job begins; 0 for one that is done, whose share begins again."""
        self.times[job] += job not in self.done
        return 0 if job in self.done else self.times[job]

    def end(self, job: int) -> None:
        self.done.add(job)


class _Worker:
    """One process of the cluster. It prepares itself at its first job, as what goes wrong then
    is told like what goes wrong in a job."""

    def __init__(self, task: _Task, begun: Any, tries: int) -> None:
        self.task, self.begun, self.tries, self.ready = task, begun, tries, False

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do the job of a number: the error, if there is one, and whether it ended processes.

        Ray gives a job whose process is lost to another, and would do so without end.
        """
        job = row["job"]
        try:
            time = ray.get(self.begun.again.remote(job))
            if time > self.tries:
                return {"error": b"", "lost": True}
            if time:
                if not self.ready:
                    self._get_ready()
                self.task.act(self.task.jobs[job])
                self.begun.end.remote(job)
        except Exception as error:
            return {"error": _packed(error), "lost": False}
        return {"error": b"", "lost": False}

    def _get_ready(self) -> None:
        folder = self.task.folder
        try:
            os.chdir(folder)
        except OSError as error:
            raise UserError(
                f"{platform.node()} does not see {folder} ({error.strerror}); run the command in "
                "a folder that all machines of the cluster share."
            ) from None
        self.task.prepare(*self.task.given)
        self.ready = True


def _quieten() -> None:
    """Ray Data tells a person what it does; here it does so in its own files only."""
    ray_data.DataContext.get_current().enable_progress_bars = False
    for handler in logging.getLogger("ray.data").handlers:
        is_rays = type(handler).__module__.startswith("ray.")  # a program's own may be there, too
        if is_rays and isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


def _packed(error: Exception) -> bytes:
    error.add_note(f"on {platform.node()}: {traceback.format_exc()}")
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:
        packed = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return packed


def _told(error: Exception) -> str:
    return first_line(error).rstrip(".")
