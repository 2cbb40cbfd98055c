"""Crops of pictures to train on: their shares, their splits, the same ones at every call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import needs_world

from quintet.config import UserError
from quintet.data import pages
from quintet.data import picture_bank as banks
from quintet.data.picture_bank import Mixture, held_out_crops, picture_bank
from quintet.data.plain import plain_crop
from quintet.media.images import write_image


def test_shares_leave_the_rest_to_the_world() -> None:
    assert Mixture(24, 24).shares == {"world": 1}
    shares = Mixture(24, 24, pages=0.25, photographs=0.5).shares
    assert shares == {"world": 0.25, "pages": 0.25, "photographs": 0.5}
    assert Mixture(24, 24, plain=0.25).shares == {"world": 0.75, "plain": 0.25}


@pytest.mark.parametrize(
    ("pages", "photographs", "plain"),
    [(0.5, 0.5, 0.0), (-0.1, 0.2, 0.0), (1.2, 0.0, 0.0), (0.5, 0.25, 0.25), (0.0, 0.0, -0.1)],
)
def test_shares_that_leave_nothing_are_refused(
    pages: float, photographs: float, plain: float
) -> None:
    with pytest.raises(UserError, match="below 1"):
        Mixture(24, 24, pages, photographs, plain=plain)


@pytest.mark.parametrize("small_text", [0.0, -1.0, 10.1])
def test_a_preference_that_no_text_has_is_refused(small_text: float) -> None:
    with pytest.raises(UserError, match=r"between 0\.1 and 10"):
        Mixture(24, 24, 0.5, small_text=small_text)


@needs_world
def test_plain_areas_and_small_text_come_as_they_are_asked_for() -> None:
    sources = Mixture(24, 24, 0.3, plain=0.2, small_text=3.0).sources("train")
    assert list(sources) == ["world", "pages", "plain"]
    made = {name: source(np.random.default_rng(5)) for name, source in sources.items()}
    assert all(crop.shape == (24, 24, 3) and crop.dtype == np.uint8 for crop in made.values())
    assert np.array_equal(made["plain"], plain_crop(np.random.default_rng(5), 24))
    small = pages.render_crop(np.random.default_rng(5), "train", 24, 3.0)
    assert np.array_equal(made["pages"], small)
    assert not np.array_equal(small, pages.render_crop(np.random.default_rng(5), "train", 24))
    assert list(held_out_crops(Mixture(24, 24, plain=0.5), 2, 0)) == ["world", "plain"]


def test_the_bank_holds_each_source_in_its_share(tmp_path: Path, monkeypatch) -> None:
    grey = {"world": 10, "pages": 20, "photographs": 30}
    sources = {
        name: lambda rng, value=value: np.full((6, 6, 3), value, np.uint8)
        for name, value in grey.items()
    }
    monkeypatch.setattr(Mixture, "sources", lambda mixture, split: sources)
    bank = picture_bank(tmp_path, Mixture(6, 6, 0.3, 0.2), 500, seed=0)
    shares = [(bank[:, 0, 0, 0] == value).mean() for value in grey.values()]
    assert bank.shape == (500, 6, 6, 3)
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.08)


def test_two_who_make_the_same_bank_at_once_do_not_meet(tmp_path: Path, monkeypatch) -> None:
    """The second begins and ends while the first is at its first picture."""
    second: list[np.ndarray] = []

    def noise(rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)

    def slow(rng: np.random.Generator) -> np.ndarray:
        if not second:
            second.append(np.zeros(0))
            second.append(np.array(picture_bank(tmp_path / "a", Mixture(6, 6), 5, seed=0)))
        return noise(rng)

    monkeypatch.setattr(banks, "track", lambda steps, *text, **more: steps)  # one bar at a time
    monkeypatch.setattr(Mixture, "sources", lambda mixture, split: {"world": slow})
    first = picture_bank(tmp_path / "a", Mixture(6, 6), 5, seed=0)
    monkeypatch.setattr(Mixture, "sources", lambda mixture, split: {"world": noise})
    alone = picture_bank(tmp_path / "b", Mixture(6, 6), 5, seed=0)
    assert np.array_equal(first, alone) and np.array_equal(second[1], alone)
    assert len(list((tmp_path / "a").iterdir())) == 1


@needs_world
def test_the_same_bank_at_every_call_and_what_was_made_is_kept(tmp_path: Path, monkeypatch) -> None:
    mixture = Mixture(24, 60)
    first = np.array(picture_bank(tmp_path / "a", mixture, 6, seed=3))
    assert np.array_equal(first, picture_bank(tmp_path / "b", mixture, 6, seed=3))
    assert not np.array_equal(first, picture_bank(tmp_path / "c", mixture, 6, seed=4))
    monkeypatch.setattr(banks, "world_crop", None)  # would fail if it were called again
    assert np.array_equal(first, picture_bank(tmp_path / "a", mixture, 6, seed=3))


@needs_world
def test_held_out_crops_come_from_every_source_in_use() -> None:
    crops = held_out_crops(Mixture(24, 24), 3, 0)
    assert list(crops) == ["world"] and crops["world"].shape == (3, 24, 24, 3)
    assert crops["world"].dtype == np.uint8
    again = held_out_crops(Mixture(24, 24), 2, 0)
    assert np.array_equal(again["world"], crops["world"][:2])


@needs_world
def test_photographs_and_a_folder_of_ones_own(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    folder = tmp_path / "mine"
    folder.mkdir()
    write_image(folder / "red.png", np.full((60, 60, 3), (255, 0, 0), np.uint8))
    mixture = Mixture(24, 24, 0.0, 0.5, str(folder))
    crop = mixture.sources("train")["photographs"](np.random.default_rng(0))
    assert crop.shape == (24, 24, 3) and crop.dtype == np.uint8
    before = mixture.fingerprint()
    assert before == Mixture(24, 24, 0.0, 0.5, str(folder)).fingerprint()
    write_image(folder / "green.png", np.full((60, 60, 3), (0, 255, 0), np.uint8))
    assert mixture.fingerprint() != before  # another bank
    missing = Mixture(24, 24, 0.0, 0.5, str(tmp_path / "missing"))
    with pytest.raises(UserError, match="missing"):
        missing.sources("train")
    assert "photographs" in missing.sources("test")  # which are not that folder's


def test_mixtures_are_told_apart() -> None:
    mixtures = [
        Mixture(24, 24), Mixture(24, 30), Mixture(24, 24, 0.2), Mixture(24, 24, 0.2001),
        Mixture(24, 24, plain=0.2), Mixture(24, 24, 0.2, small_text=2.0),
    ]  # fmt: skip
    assert len({mixture.fingerprint() for mixture in mixtures}) == len(mixtures)


def test_a_folder_that_nothing_is_taken_from_is_refused() -> None:
    with pytest.raises(UserError, match="photographs, above 0"):
        Mixture(24, 24, photograph_folder="mine")
