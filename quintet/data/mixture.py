"""Several folders of shards by weight -> batches, as a pure function of the step.

No list of all samples is ever made: which sample stands at a place is computed, so that a run
begins at any step at once, and what is in memory does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from quintet.data.loader import LATEST_START, SORTED_TOGETHER, in_words, moved
from quintet.data.shards import Shards
from quintet.timeline.targets import Sample

ROUND = 4_096  # samples among which each source has its share exactly
ROUNDS = 6  # of the permutation


@dataclass(frozen=True)
class Mixture:
    """Samples of several sources; of each, a share of all that is proportional to its weight.

    `remake` is applied to every sample, as where a stage asks other heads than the shards say.
    """

    sources: Sequence[Shards]
    weights: Sequence[float]
    remake: Callable[[Sample], Sample] = lambda sample: sample


def shares(weights: Sequence[float], total: int) -> np.ndarray:
    """Whole numbers [S] that add up to `total`, as near to the weights as they can be, and none
    of them 0."""
    assert min(weights) > 0 and len(weights) <= total
    exact = np.array(weights, np.float64) / sum(weights) * total
    counts = np.maximum(1, np.floor(exact)).astype(np.int64)
    while (missing := total - int(counts.sum())) != 0:
        far = exact - counts
        far[counts <= 1] += 0 if missing > 0 else total  # none becomes 0
        counts[int(far.argmax()) if missing > 0 else int(far.argmin())] += np.sign(missing)
    return counts


def permuted(index_N: np.ndarray, size: int, key: tuple[int, ...]) -> np.ndarray:
    """Where a permutation of `size` things, one for each key, puts those at `index_N`.

    A Feistel network over the next even number of bits; what falls outside goes round again.
    """
    half = max(1, (max(1, size - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    keys = np.random.default_rng(key).integers(0, 2**63, ROUNDS, np.uint64)
    place = np.array(index_N, np.uint64)
    inside = np.zeros(len(place), bool)
    while not inside.all():
        left, right = place[~inside] >> np.uint64(half), place[~inside] & mask
        for round_key in keys:
            left, right = right, left ^ (_mixed(right ^ round_key) & mask)
        place[~inside] = (left << np.uint64(half)) | right
        inside = place < size
    return place.astype(np.int64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit of the value (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


class MixtureLoader:
    """The batches of a mixture.

    Each source goes through all of its samples, in a new order each time, and begins again when
    they are used up. Some batches are sorted together by length, so that little is padding.
    """

    def __init__(
        self,
        mixture: Mixture,
        batch_size: int,
        seed: int,
        picture_rows: int,
        latest_start: int = LATEST_START,
    ) -> None:
        self.mixture, self.batch_size, self.seed = mixture, batch_size, seed
        self.picture_rows, self.latest_start = picture_rows, latest_start
        self._counts = shares(mixture.weights, ROUND)
        self._round = lru_cache(maxsize=2)(self._make_round)
        self._group = lru_cache(maxsize=2)(self._make_group)

    def places(self, step: int) -> list[tuple[int, int]]:
        """(source, sample) of each sample of a step's batch."""
        group, index = divmod(step, SORTED_TOGETHER)
        return self._group(group)[index]

    def batch(self, step: int) -> list[Sample]:
        """The samples of training step `step`, moved to a random place in time."""
        rng = np.random.default_rng((self.seed, 1, step))
        samples = [self.mixture.sources[source][index] for source, index in self.places(step)]
        place = self.picture_rows, self.latest_start
        return [moved(self.mixture.remake(s), rng, *place) for s in samples]

    def sources(self, step: int) -> str:
        """Where the samples of `step` come from, in words: shard by shard."""
        return in_words([self.mixture.sources[s].place(index) for s, index in self.places(step)])

    def _make_group(self, group: int) -> list[list[tuple[int, int]]]:
        """The batches that are sorted together, each of samples of similar lengths."""
        first = group * SORTED_TOGETHER * self.batch_size
        places = []
        for slot in range(first, first + SORTED_TOGETHER * self.batch_size):
            sources, samples = self._round(slot // ROUND)
            places.append((int(sources[slot % ROUND]), int(samples[slot % ROUND])))
        lengths = [self.mixture.sources[source].length(index) for source, index in places]
        order = np.argsort(lengths, kind="stable")
        batches = order.reshape(SORTED_TOGETHER, self.batch_size)
        shuffled = np.random.default_rng((self.seed, 2, group)).permutation(batches)
        return [[places[i] for i in batch] for batch in shuffled]

    def _make_round(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and sample of each place of a round, both [ROUND]."""
        rng = np.random.default_rng((self.seed, 3, number))
        sources = rng.permutation(np.repeat(np.arange(len(self._counts)), self._counts))
        samples = np.zeros(ROUND, np.int64)
        for source, count in enumerate(self._counts.tolist()):
            ordinal = number * count + np.arange(count)  # of this source's samples so far
            size = len(self.mixture.sources[source])
            epochs = ordinal // size
            own = np.zeros(count, np.int64)
            for epoch in np.unique(epochs).tolist():
                here = epochs == epoch
                own[here] = permuted(ordinal[here] % size, size, (self.seed, 4, source, epoch))
            samples[sources == source] = own
        return sources, samples
