"""A score with its uncertainty: a share with Wilson's interval, a mean with a bootstrap's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

NORMAL_95 = 1.959964  # standard deviations on each side that hold 95 %
RESAMPLES = 2_000


@dataclass(frozen=True)
class Score:
    """A number, its 95 % interval, what it was measured on, and what guessing would give.

    Without any case (`n` 0) the value is not a number that anybody measured: None.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    chance: float | None = None

    def to_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def share(successes: Iterable[bool], chance: float | None = None) -> Score:
    """The share of true cases, with Wilson's score interval (1927)."""
    cases = list(successes)
    return share_of(sum(cases), len(cases), chance)


def share_of(count: int, n: int, chance: float | None = None) -> Score:
    """`count` of `n`, with Wilson's score interval (1927)."""
    if not n:
        return Score(None, None, None, 0, chance)
    value, z2 = count / n, NORMAL_95**2
    middle = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Score(value, max(0.0, middle - half), min(1.0, middle + half), n, chance)


def ratio(pairs: Sequence[tuple[float, float]], chance: float | None = None) -> Score:
    """Sum over sum, as in a word error rate; the cases are resampled for the interval."""
    if not pairs or not sum(bottom for _, bottom in pairs):
        return Score(None, None, None, len(pairs), chance)
    table = np.array(pairs, float)
    rng = np.random.default_rng(0)
    chosen = table[rng.integers(len(table), size=(RESAMPLES, len(table)))].sum(1)
    again = chosen[:, 0] / np.maximum(chosen[:, 1], 1e-9)
    low, high = np.percentile(again, [2.5, 97.5])
    top, bottom = table.sum(0)
    return Score(float(top / bottom), float(low), float(high), len(table), chance)


def mean(values: Sequence[float], chance: float | None = None) -> Score:
    """The mean, with a bootstrap's interval."""
    return ratio([(value, 1.0) for value in values], chance)
