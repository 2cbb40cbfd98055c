"""Batches are a pure function of the step; shards give back what they took."""

import hashlib
from pathlib import Path

import numpy as np
from conftest import make_config, make_timeline

from quintet.data.loader import LATEST_START, Loader
from quintet.data.shards import load_samples, save_samples
from quintet.timeline.rows import COLUMNS
from quintet.timeline.streams import Modality
from quintet.timeline.targets import Sample, Vocabulary, live_sample

CONFIG = make_config()


def _samples(count: int) -> list[Sample]:
    vocabulary = Vocabulary(CONFIG.text_image_vocab_size, CONFIG.audio.codebook_size)
    return [
        live_sample(make_timeline(CONFIG, 2 + seed % 5, seed).rows(), 6, CONFIG.audio.frames_in,
                    vocabulary)
        for seed in range(count)
    ]  # fmt: skip


def _equal(one: Sample, other: Sample) -> bool:
    columns = ("stream", "modality", "tokens", "position", "step")
    return (
        all(np.array_equal(getattr(one.rows, c), getattr(other.rows, c)) for c in columns)
        and np.array_equal(one.text_target, other.text_target)
        and np.array_equal(one.audio_target, other.audio_target)
    )


def test_shards_give_back_what_they_took(tmp_path: Path) -> None:
    samples = _samples(7)
    save_samples(tmp_path / "deep" / "0.safetensors", samples)
    again = load_samples(tmp_path / "deep" / "0.safetensors")
    assert len(again) == 7 and all(map(_equal, samples, again))


def test_batches_are_a_pure_function_of_the_step() -> None:
    samples = _samples(20)
    forward, backward = Loader(samples, 3, 5, 4), Loader(samples, 3, 5, 4)
    ahead = [forward.batch(step) for step in range(15)]
    behind = [backward.batch(step) for step in reversed(range(15))][::-1]
    for one, other in zip(ahead, behind, strict=True):
        assert all(map(_equal, one, other))
    assert not all(map(_equal, ahead[0], Loader(samples, 3, 6, 4).batch(0)))


def test_batches_are_those_that_the_bundled_models_were_trained_on() -> None:
    digest, loader = hashlib.sha256(), Loader(_samples(20), 3, 5, 4)
    for sample in (sample for step in range(15) for sample in loader.batch(step)):
        for column in COLUMNS:
            digest.update(getattr(sample.rows, column).tobytes())
        digest.update(sample.text_target.tobytes() + sample.audio_target.tobytes())
    assert digest.hexdigest()[:16] == "d863a31b02ce087c"  # of the loader of 2026-11-24


class _Shared(Loader):
    """After so many looks at its epoch, another's stands there."""

    kept, looks = None, 0

    @property
    def _epoch(self):
        self.looks -= 1
        return self.kept if self.looks >= 0 else (-1, [])

    @_epoch.setter
    def _epoch(self, value):
        self.kept = value


def test_an_epoch_that_another_thread_replaces_meanwhile_is_not_given() -> None:
    alone, shared = (kind(_samples(20), 3, 5, 4) for kind in (Loader, _Shared))
    for looks in range(4):
        for step in (0, 1, 7, 8):
            shared.looks = looks
            assert np.array_equal(alone.indices(step), shared.indices(step))


def test_an_epoch_sees_every_sample_once() -> None:
    samples = _samples(18)
    loader = Loader(samples, 3, 0, 4)
    seen = [s.text_target.tobytes() + s.rows.tokens.tobytes() for step in range(6)
            for s in loader.batch(step)]  # fmt: skip
    assert len(set(seen)) == len({s.text_target.tobytes() + s.rows.tokens.tobytes()
                                  for s in samples})  # fmt: skip


def test_samples_start_anywhere_and_keep_their_inner_distances() -> None:
    samples = _samples(12)
    loader, starts = Loader(samples, 4, 0, picture_rows=4), []
    for step in range(9):
        for sample in loader.batch(step):
            rows = sample.rows
            starts.append(rows.step.min())
            assert rows.step.max() - rows.step.min() < 7
            for modality in Modality:
                for flag in (0, 1):
                    place = rows.position[(rows.modality == modality) & (rows.flag == flag)]
                    if not len(place):
                        continue
                    assert np.array_equal(place - place[0], np.arange(len(place)))
                    assert modality != Modality.IMAGE or place[0] % 4 == 0
    assert min(starts) >= 0 and max(starts) < LATEST_START + 7
    assert np.std(starts) > LATEST_START / 6
