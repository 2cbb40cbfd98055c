"""Sources of any size: read late, mixed by weight, a pure function of the step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_config, make_timeline
from safetensors.numpy import load_file, save_file

from quintet.config import UserError
from quintet.data import mixture as mixture_module
from quintet.data import shards as shards_module
from quintet.data.mixture import Mixture, MixtureLoader, permuted, shares
from quintet.data.shards import ShardIndex, Shards, load_samples, save_samples
from quintet.timeline.rows import COLUMNS
from quintet.timeline.targets import NOT_ASKED, Sample, Vocabulary, next_row_sample

CONFIG = make_config()
VOCABULARY = Vocabulary(CONFIG.text_image_vocab_size, CONFIG.audio.codebook_size)


def _bytes(sample: Sample) -> bytes:
    columns = [getattr(sample.rows, name).tobytes() for name in COLUMNS]
    return b"".join([*columns, sample.text_target.tobytes(), sample.audio_target.tobytes()])


def _folder(folder: Path, shards: int, each: int, seed: int = 0) -> ShardIndex:
    """Samples of different lengths, in shards of `each`, with their index."""
    names, rows = [], 0
    for shard in range(shards):
        numbers = range(seed + shard * each, seed + (shard + 1) * each)
        samples = [next_row_sample(make_timeline(CONFIG, 1 + n % 4, n).rows(), VOCABULARY)
                   for n in numbers]  # fmt: skip
        names.append(f"{shard:05d}.safetensors")
        save_samples(folder / names[-1], samples)
        rows += sum(map(len, samples))
    index = ShardIndex(folder, "pretrain", "x", tuple(names), (each,) * shards, rows)
    index.write()
    return ShardIndex.read(folder)


def test_shards_that_are_read_late_give_what_they_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "OPEN", 2)
    about = _folder(tmp_path, shards=4, each=5)
    whole = [s for file in about.files for s in load_samples(tmp_path / file)]
    late = Shards(about)
    assert len(late) == 20
    for index in np.random.default_rng(0).permutation(20).tolist():
        assert _bytes(late[index]) == _bytes(whole[index])
        assert late.length(index) == len(whole[index])
        assert len(late._open) <= 2
    part = Shards(about, 7, 12)
    assert [_bytes(s) for s in part] == [_bytes(s) for s in whole[7:12]]
    assert _bytes(part[-1]) == _bytes(whole[11])
    with pytest.raises(IndexError):
        part[5]


@pytest.mark.parametrize("damage", ["a byte", "the end", "all of it", "its samples", "its digest"])
def test_a_damaged_shard_is_told_when_it_is_opened(damage: str, tmp_path: Path) -> None:
    about = _folder(tmp_path / "out" / "pretrain", shards=2, each=5)
    path = about.folder / about.files[1]
    data = path.read_bytes()
    if damage == "a byte":
        path.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    elif damage == "the end":
        path.write_bytes(data[:-9])
    elif damage == "all of it":
        path.unlink()
    elif damage == "its samples":  # a whole shard, of another run
        save_samples(path, load_samples(path)[:4])
    else:
        save_file(load_file(path), path)
    shards = Shards(about)
    assert len(shards[0]) == shards.length(0)
    report = tmp_path / "out" / "reports" / "00001.json"
    for read in (shards.length, shards.__getitem__):
        with pytest.raises(UserError, match="is missing or damaged") as told:
            read(5)
        assert str(path) in str(told.value) and str(report) in str(told.value)


def test_a_shard_is_checked_once_however_often_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "OPEN", 1)
    monkeypatch.setattr(shards_module, "ROWS_AT_ONCE", 7)
    checked, digest = [], shards_module._digest
    monkeypatch.setattr(shards_module, "_digest", lambda c: checked.append(c) or digest(c))
    late = Shards(_folder(tmp_path, shards=2, each=5))
    saved = len(checked)
    for _ in range(3):
        for index in (0, 5):
            assert len(late[index]) == late.length(index)
    assert len(checked) == saved + 2


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1_000])
def test_an_order_is_a_permutation_and_another_for_every_key(size: int) -> None:
    orders = [permuted(np.arange(size), size, (5, key)) for key in range(3)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(size))
    if size >= 64:
        assert not np.array_equal(orders[0], orders[1])
        # Neighbours do not stay neighbours, nor things where they were.
        assert abs(np.corrcoef(orders[0], np.arange(size))[0, 1]) < 0.4
        assert np.mean(np.abs(np.diff(orders[0])) == 1) < 0.2


def test_an_order_of_more_than_memory_holds_is_had_at_any_place() -> None:
    size = 3_000_000_000
    there = permuted(np.array([0, 1, size - 1]), size, (0,))
    assert len(set(there.tolist())) == 3 and there.min() >= 0 and there.max() < size


def test_each_time_and_each_source_has_its_own_order_and_what_is_remade_is_given(
    tmp_path: Path,
) -> None:
    sources = [Shards(_folder(tmp_path / name, shards=4, each=10)) for name in "ab"]

    def deaf(sample: Sample) -> Sample:
        return replace(sample, audio_target=np.full_like(sample.audio_target, NOT_ASKED))

    loader = MixtureLoader(Mixture(sources, [1.0, 1.0], deaf), 4, 0, 1)
    source_of, sample_of = loader._make_round(0)
    first, second = (sample_of[source_of == source][:80].tolist() for source in (0, 1))
    assert sorted(first[:40]) == sorted(first[40:]) == sorted(second[:40]) == list(range(40))
    assert first[:40] != first[40:] and first[:40] != second[:40]
    assert all((sample.audio_target == NOT_ASKED).all() for sample in loader.batch(0))


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [0.001, 5, 3.3], [1, 0.0001], [2, 1, 1e-9]])
def test_shares_add_up_and_none_is_left_out(weights: list[float]) -> None:
    counts = shares(weights, 100)
    assert counts.sum() == 100 and counts.min() >= 1
    exact = np.array(weights) / sum(weights) * 100
    assert np.abs(counts - exact).max() <= len(weights)


@pytest.fixture
def mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mixture:
    monkeypatch.setattr(mixture_module, "ROUND", 32)
    big, small = _folder(tmp_path / "a", 3, 5), _folder(tmp_path / "b", 1, 6, seed=50)
    return Mixture([Shards(big), Shards(small)], [3.0, 1.0])


def test_each_source_has_its_weight_and_goes_through_all_of_itself(mixture: Mixture) -> None:
    loader = MixtureLoader(mixture, 4, 9, 4)
    steps = 16 * 15  # 960 samples: 30 rounds of 32, 15 groups of 64
    places = [place for step in range(steps) for place in loader.places(step)]
    assert Counter(source for source, _ in places) == {0: 720, 1: 240}
    # 48 times through the 15 samples of the one, 40 times through the 6 of the other.
    assert set(Counter(index for source, index in places if source == 0).values()) == {48}
    assert set(Counter(index for source, index in places if source == 1).values()) == {40}


def test_a_batch_is_a_pure_function_of_the_step(mixture: Mixture) -> None:
    forward, backward = MixtureLoader(mixture, 4, 9, 4), MixtureLoader(mixture, 4, 9, 4)
    ahead = [list(map(_bytes, forward.batch(step))) for step in range(40)]
    behind = [list(map(_bytes, backward.batch(step))) for step in reversed(range(40))][::-1]
    assert ahead == behind
    other = [list(map(_bytes, MixtureLoader(mixture, 4, 8, 4).batch(step))) for step in range(2)]
    assert ahead[:2] != other


def test_batches_are_of_similar_lengths(mixture: Mixture) -> None:
    loader = MixtureLoader(mixture, 4, 9, 4)
    lengths = np.array([[len(s) for s in loader.batch(step)] for step in range(64)])
    assert np.ptp(lengths, axis=1).mean() < 0.4 * np.ptp(lengths.reshape(-1, 4).ravel())
    assert lengths.mean(1).std() > 0  # and not one long group after one short


def test_a_folder_that_is_no_finished_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished shards"):
        ShardIndex.read(tmp_path)
    _folder(tmp_path / "out" / "pretrain", 1, 1)
    with pytest.raises(ValueError, match="several kinds; name one of its folders: pretrain"):
        ShardIndex.read(tmp_path / "out")
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        ShardIndex.read(tmp_path)
