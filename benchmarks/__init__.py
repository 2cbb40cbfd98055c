"""Speed or quality beside a peer or a limit, in one run. No figure is asserted in a test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from quintet.config import UserError

RESAMPLES = 2_000  # of the bootstrap


class Row(TypedDict):
    """One figure; `peer` is the peer's or the limit, `ratio` is value over peer."""

    name: str
    unit: str
    value: float
    peer: float | None
    ratio: float | None


class ScoreRow(Row):
    """A row with the 95 % interval of its value, and how many of the files the score judged."""

    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Score:
    """What is judged of a file; `less` is true where less is better."""

    name: str
    unit: str
    less: bool = False


def row(name: str, unit: str, value: float, peer: float | None = None) -> Row:
    ratio = None if not peer else value / peer  # of nothing, as of memory that was there already
    return {"name": name, "unit": unit, "value": value, "peer": peer, "ratio": ratio}


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over files and its 95 % bootstrap interval (percentiles); deterministic."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def as_command(main: Callable[[], None]) -> None:
    """Run it; a person's mistake is one sentence, as with the commands."""
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
