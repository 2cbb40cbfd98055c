"""Jobs for a cluster's processes, which leave files by which a test knows what was done where."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

SECONDS = 300  # that something may take on a busy machine


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def wait_for(path: Path, count: int = 1) -> None:
    until = time.monotonic() + SECONDS
    while len(list(path.parent.glob(path.name))) < count:
        assert time.monotonic() < until
        time.sleep(0.02)


def prepare(folder: Path) -> None:
    (folder / f"prepared-{os.getpid()}").touch()


def act(folder: Path, job: str) -> None:
    """Leaves a file for each time that it was begun, and one when it is done."""
    node = _node()
    begun = folder / f"begun-{job}-{node}-{time.monotonic_ns()}"
    begun.touch()
    if job.startswith("together"):  # two at the same time, so that both nodes have a process
        wait_for(folder / "begun-together*", 2)
    if job == "always" or (job == "once" and len(list(folder.glob("begun-once-*"))) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"done-{job}").touch()


def act_until_lost(folder: Path, lost: str, job: int) -> None:
    """On the node `lost`, jobs take longer than it lives; elsewhere they begin when one has begun
    there."""
    if _node() == lost:
        (folder / "begun").touch()
        time.sleep(SECONDS)
    wait_for(folder / "begun")
    (folder / f"done-{job}").touch()
