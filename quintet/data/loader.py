"""Samples -> batches, as a pure function of the step: a resumed run sees what it would have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from quintet.timeline.rows import Rows
from quintet.timeline.streams import Modality
from quintet.timeline.targets import Sample

SORTED_TOGETHER = 16  # batches whose samples are sorted by length, so that little is padding
LATEST_START = 14_400  # steps: training begins samples anywhere in the first hour
LATEST_POSITION = 45_000  # rows of one modality and source that an hour may hold


class Loader:
    """Every epoch is a permutation of the samples, cut into batches of similar lengths.

    Args:
        picture_rows: rows of one picture; random positions shift pictures by whole ones, so
            that the place inside the picture stays readable.
        latest_start: steps; 0 leaves the samples where they are.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        batch_size: int,
        seed: int,
        picture_rows: int,
        latest_start: int = LATEST_START,
    ) -> None:
        assert len(samples) >= batch_size, "fewer samples than one batch"
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.picture_rows, self.latest_start = picture_rows, latest_start
        self.batches_per_epoch = len(samples) // batch_size
        self._lengths = np.array([len(sample) for sample in samples])
        self._epoch: tuple[int, list[np.ndarray]] | None = None

    def _batches(self, epoch: int) -> list[np.ndarray]:
        # Looked at once: the thread that makes batches ahead puts the next epoch in its place,
        # while another may ask what the batch of a step was.
        made = self._epoch
        if made is None or made[0] != epoch:
            rng = np.random.default_rng((self.seed, epoch))
            order = rng.permutation(len(self.samples))
            order = order[: self.batches_per_epoch * self.batch_size]
            batches: list[np.ndarray] = []
            for start in range(0, len(order), SORTED_TOGETHER * self.batch_size):
                group = order[start : start + SORTED_TOGETHER * self.batch_size]
                group = group[np.argsort(self._lengths[group], kind="stable")]
                batches += [
                    group[i : i + self.batch_size] for i in range(0, len(group), self.batch_size)
                ]
            shuffled = rng.permutation(len(batches))
            made = self._epoch = (epoch, [batches[i] for i in shuffled])
        return made[1]

    def indices(self, step: int) -> np.ndarray:
        """Which samples [batch_size] training step `step` takes."""
        epoch, index = divmod(step, self.batches_per_epoch)
        return self._batches(epoch)[index]

    def batch(self, step: int) -> list[Sample]:
        """The samples of training step `step`, moved to a random place in time."""
        rng = np.random.default_rng((self.seed, 1, step))
        samples = (self.samples[i] for i in self.indices(step))
        return [moved(s, rng, self.picture_rows, self.latest_start) for s in samples]

    def sources(self, step: int) -> str:
        """Where the samples of `step` come from, in words: shard by shard."""
        given = "those that were given"
        numbers = self.indices(step).tolist()
        return in_words([self.samples[n].source or (given, n) for n in numbers])


def in_words(places: Iterable[tuple[str, int]]) -> str:
    """Shards and places in them."""
    found: dict[str, list[int]] = {}
    for shard, place in places:
        found.setdefault(shard, []).append(place)
    return "; ".join(
        f"{shard}, samples {', '.join(map(str, sorted(numbers)))}"
        for shard, numbers in sorted(found.items())
    )


def moved(
    sample: Sample, rng: np.random.Generator, picture_rows: int, latest_start: int = LATEST_START
) -> Sample:
    """A sample at a random place in time, its positions in each modality and source shifted.

    Its system prompt, before step 0, stays where it is, as in a session that has lasted for long.
    """
    rows = sample.rows
    lives = rows.step >= 0
    steps = int(rng.integers(max(1, latest_start)))
    # One offset for each modality and source: [modality, flag].
    offsets = rng.integers(0, LATEST_POSITION, (len(Modality), 2))
    offsets[Modality.IMAGE] -= offsets[Modality.IMAGE] % picture_rows
    shifted = Rows(
        rows.stream, rows.modality, rows.tokens,
        rows.position + lives * offsets[rows.modality, rows.flag].astype(np.int32),
        rows.step + lives * np.int32(steps),
    )  # fmt: skip
    return replace(sample, rows=shifted)
