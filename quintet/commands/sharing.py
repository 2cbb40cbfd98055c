"""The options that say who shares a command's work: processes here, or those of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from quintet.data.workers import Here, Processes, Workers

RAY = click.option("--ray", metavar="ADDRESS",
                   help="Share the work on a Ray cluster: auto, HOST:PORT or local.")  # fmt: skip


def processes_option(here: int) -> Callable[[Any], Any]:
    """The option --processes; `here` are so many unless it is given."""
    return click.option(
        "--processes", type=click.IntRange(1, 16_384),
        help=f"By default {here}, or with --ray one for each core of the cluster.",
    )  # fmt: skip


def workers_of(processes: int | None, ray: str | None, here: int, apart: bool) -> Workers:
    """Who the options name; `here` processes of this machine if they name none.

    Args:
        apart: a single process is a new one, too, which may die of its work.

    Raises:
        UserError: Ray is not installed.
    """
    if ray is not None:
        from quintet.data.cluster import Cluster

        return Cluster(ray, processes)
    count = processes or here
    return Processes(count) if apart or count > 1 else Here()
