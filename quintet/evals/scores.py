"""A score with its uncertainty: what the interval takes as independent are scenes.

Requests and steps of one scene share a voice, a background and a session. Where cases come from
scenes, `scenes` says which case belongs to which, and whole scenes are resampled (cluster
bootstrap). Without it every case stands for itself.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate

import numpy as np

NORMAL_95 = 1.959964  # standard deviations on each side that hold 95 %
RESAMPLES = 2_000
# A bootstrap never leaves what it saw: with fewer scenes than this on the rarer side (with any
# success, or with any failure) its interval is too narrow, and Wilson's over scenes is taken.
FEW_SCENES = 5


@dataclass(frozen=True)
class Score:
    """A number, its 95 % interval, what it was measured on, and what guessing would give.

    `n` counts cases, not scenes. Without any case the value is not a number that anybody
    measured: None.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    chance: float | None = None

    def to_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def share(
    successes: Iterable[bool],
    chance: float | None = None,
    scenes: Iterable[Hashable] | None = None,
) -> Score:
    """The share of true cases. Independent ones, and few scenes, get Wilson's interval."""
    cases = list(successes)
    if scenes is None or not cases:
        return share_of(sum(cases), len(cases), chance)
    table_K2 = _by_scene([(float(case), 1.0) for case in cases], scenes)
    right, asked = table_K2.T
    value = float(right.sum() / asked.sum())
    if min((right > 0).sum(), (right < asked).sum()) < FEW_SCENES:
        return Score(value, *_wilson(value, len(table_K2)), len(cases), chance)
    return Score(value, *_resampled(table_K2), len(cases), chance)


def share_of(count: int, n: int, chance: float | None = None) -> Score:
    """`count` of `n` independent cases, with Wilson's score interval (1927)."""
    if not n:
        return Score(None, None, None, 0, chance)
    return Score(count / n, *_wilson(count / n, n), n, chance)


def ratio(
    pairs: Sequence[tuple[float, float]],
    chance: float | None = None,
    scenes: Iterable[Hashable] | None = None,
) -> Score:
    """Sum over sum, as in a word error rate; scenes (or cases) are resampled for the interval."""
    if not pairs or not sum(bottom for _, bottom in pairs):
        return Score(None, None, None, len(pairs), chance)
    table_K2 = _by_scene(pairs, range(len(pairs)) if scenes is None else scenes)
    top, bottom = table_K2.sum(0)
    if not table_K2[:, 0].any():  # nothing was ever seen: the rule of three
        return Score(0.0, 0.0, 3 / len(table_K2), len(pairs), chance)
    return Score(float(top / bottom), *_resampled(table_K2), len(pairs), chance)


def mean(
    values: Sequence[float],
    chance: float | None = None,
    scenes: Iterable[Hashable] | None = None,
) -> Score:
    """The mean, with a bootstrap's interval."""
    return ratio([(value, 1.0) for value in values], chance, scenes)


def median(values: Sequence[float], scenes: Iterable[Hashable] | None = None) -> Score:
    """The median, between two order statistics whose ranks are binomial.

    As many ranks are counted as there are scenes, and stretched over the cases. Where all values
    are the same the interval is that value, rightly. Fewer than six scenes cannot give 95 %: the
    interval is then the whole range.
    """
    if not values:
        return Score(None, None, None, 0)
    ordered, n = sorted(values), len(values)
    k = n if scenes is None else len(set(scenes))
    below = accumulate(math.comb(k, i) / 2**k for i in range(k // 2))
    rank = max(1, sum(chance <= 0.025 for chance in below))
    first = (rank - 1) * n // k
    return Score(float(np.median(ordered)), ordered[first], ordered[n - 1 - first], n)


def _wilson(value: float, n: int) -> tuple[float, float]:
    z2 = NORMAL_95**2
    middle = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 and at n the end of the interval is the value itself, but for rounding.
    return min(value, max(0.0, middle - half)), max(value, min(1.0, middle + half))


def _by_scene(pairs: Sequence[tuple[float, float]], scenes: Iterable[Hashable]) -> np.ndarray:
    """[K, 2]: the sums of the pairs of each of the K scenes."""
    rows: dict[Hashable, list[float]] = {}
    for (top, bottom), scene in zip(pairs, scenes, strict=True):
        row = rows.setdefault(scene, [0.0, 0.0])
        row[0] += top
        row[1] += bottom
    return np.array(list(rows.values()))


def _resampled(table_K2: np.ndarray) -> tuple[float, float]:
    """The interval of the ratio of the two sums, over resampled rows."""
    rng = np.random.default_rng(0)
    chosen = table_K2[rng.integers(len(table_K2), size=(RESAMPLES, len(table_K2)))].sum(1)
    low, high = np.percentile(chosen[:, 0] / np.maximum(chosen[:, 1], 1e-9), [2.5, 97.5])
    top, bottom = table_K2.sum(0)
    return min(float(low), float(top / bottom)), max(float(high), float(top / bottom))
