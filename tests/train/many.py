"""Several processes on one machine, as torchrun starts them, for tests of what they do together."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import multiprocessing

from quintet.train.processes import leave

PRELOADED = ["quintet.cli", "quintet.live.pretrained", "quintet.stages.recipe",
             "quintet.train.checkpoint", "quintet.train.parallel", "pytest"]  # fmt: skip
Phase = tuple[int, Callable[[Path], None]]  # so many processes do this in a folder


def start(phases: list[Phase], folder: Path) -> None:
    """Run phases one after the other, all in one launch, as that costs the most. A process that a
    phase does not need goes on to the next one, and waits there."""
    ports = _free_ports(len(phases))
    count = max(world_size for world_size, _ in phases)
    # Their parent imports for all of them, which is most of what a launch costs.
    multiprocessing.set_forkserver_preload(PRELOADED)
    multiprocessing.start_processes(
        _work, (phases, ports, folder), count, start_method="forkserver"
    )


def _free_ports(count: int) -> list[int]:
    """Of those that no connection takes for its own end before its phase begins, if there are
    such."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    tried, others = [*range(1_024, first), *range(last + 1, 65_536)], list(range(first, last + 1))
    random.shuffle(tried)
    random.shuffle(others)
    tried += others
    found: list[int] = []
    for port in tried:
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"only {len(found)} of {count} ports are free")


def _work(rank: int, phases: list[Phase], ports: list[int], folder: Path) -> None:
    torch.set_num_threads(1)
    for (world_size, work), port in zip(phases, ports, strict=True):
        if rank < world_size:
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
            work(folder)
            leave()
