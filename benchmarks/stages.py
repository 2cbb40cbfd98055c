"""What the stages of a run took, from their logs: rows a second, and the share of time in which the
loop waited for data.

    python -m benchmarks.stages runs/nano

A stage that was killed and went on has each step once in its log; the time between is not in it,
nor are evaluations and checkpoints.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import as_command
from quintet.config import UserError

FIRST = 10  # steps left out of the speed: what is compiled and loaded once


@dataclass(frozen=True)
class StageSpeed:
    """Of one stage's log."""

    name: str
    steps: int
    minutes: float
    waiting: float  # share of the time
    rows_per_second: float | None  # of a transformer's stage

    @classmethod
    def of(cls, log: Path) -> StageSpeed | None:
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        steps = [line for line in lines if "seconds" in line]
        timed = steps[FIRST:]
        if not timed:
            return None
        seconds = sum(step["seconds"] for step in timed)
        rows = sum(step.get("rows", 0) for step in timed)
        return cls(
            log.parent.name, len(steps), sum(step["seconds"] for step in steps) / 60,
            sum(step.get("waiting", 0) for step in timed) / len(timed),
            rows / seconds if rows else None,
        )  # fmt: skip


def speeds(folder: Path) -> list[StageSpeed]:
    """Of every stage with a log of more than `FIRST` steps, in the order in which they ended.

    Raises:
        UserError: there is none.
    """
    logs = sorted(folder.glob("*/log.jsonl"), key=lambda path: path.stat().st_mtime)
    found = [speed for log in logs if (speed := StageSpeed.of(log))]
    if not found:
        raise UserError(
            f"{folder} has no stage with a log of more than {FIRST} steps, of which so many are "
            "not timed; name the folder of a recipe's run, such as runs/nano."
        )
    return found


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """What the stages of the run in FOLDER took."""
    table = Table("stage", "steps", "minutes", "rows / s", "waiting for data, %")
    for speed in speeds(folder):
        rows = "" if speed.rows_per_second is None else f"{speed.rows_per_second:,.0f}"
        table.add_row(
            speed.name, f"{speed.steps:,}", f"{speed.minutes:.1f}", rows,
            f"{100 * speed.waiting:.2f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    as_command(main)
