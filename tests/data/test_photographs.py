"""Photographs: read from scikit-image's own folder, of disjoint splits, cut deterministically."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from quintet.config import UserError
from quintet.data.photographs import (
    TEST_FILES,
    TRAIN_FILES,
    photograph_crop,
    photographs,
    pictures_in,
)
from quintet.media.images import write_image
from quintet.stages.context import SCORES
from quintet.stages.recipe import RECIPES, Recipe

needs_pictures = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="the extra pictures is not installed"
)


@needs_pictures
def test_the_splits_share_no_photograph() -> None:
    train, test = photographs("train"), photographs("test")
    assert (len(train), len(test)) == (len(TRAIN_FILES), len(TEST_FILES))
    assert not set(TRAIN_FILES) & set(TEST_FILES)
    assert not {p.tobytes() for p in train} & {p.tobytes() for p in test}
    for picture in train + test:
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        assert min(picture.shape[:2]) > 150


def test_both_views_of_one_thing_are_in_one_split() -> None:
    for files in (TRAIN_FILES, TEST_FILES):
        assert len({"motorcycle_left.png", "motorcycle_right.png"} & set(files)) in (0, 2)


def test_without_scikit_image_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install scikit-image"):
        photographs("train")


@needs_pictures
def test_a_recipe_with_photographs_asks_for_them_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    recipe = Recipe.load("nano", tmp_path)
    recipe.only("documents")
    for stage in (None, "image_tokenizer"):
        with pytest.raises(UserError, match="pip install scikit-image"):
            recipe.only(stage)
    for context in recipe.only("documents"):  # what is finished needs them no more
        made = context.run_folder / "image_tokenizer"
        made.mkdir(parents=True)
        (made / SCORES).write_text("{}")
    recipe.only(None)


@needs_pictures
@pytest.mark.parametrize("files", ["TRAIN_FILES", "TEST_FILES"])
def test_photographs_of_both_splits_are_asked_for(
    files: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(f"quintet.data.photographs.{files}", ("gone.png",))
    with pytest.raises(UserError, match=r"lacks the photographs gone\.png"):
        Recipe.load("nano", tmp_path).only("image_tokenizer")


def test_a_folder_that_is_not_there_is_told_where_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
    wanted = 'photographs = 0.2\nphotograph_folder = "nowhere"'
    path.write_text(text.replace("pages = 0.2", wanted), encoding="utf-8")
    recipe = Recipe.load(str(path), tmp_path)
    recipe.only("documents")
    for stage in (None, "image_tokenizer"):
        with pytest.raises(UserError, match="There is no folder nowhere"):
            recipe.only(stage)


@pytest.mark.parametrize("size", [48, 96, 240])  # the last is larger than a picture's side
def test_crops_are_deterministic_squares(size: int) -> None:
    rng = np.random.default_rng(0)
    pictures = [
        rng.integers(0, 256, shape).astype(np.uint8) for shape in [(120, 300, 3), (200, 200, 3)]
    ]
    made = [photograph_crop(np.random.default_rng(seed), pictures, size) for seed in range(30)]
    assert np.array_equal(made[3], photograph_crop(np.random.default_rng(3), pictures, size))
    assert all(crop.shape == (size, size, 3) and crop.dtype == np.uint8 for crop in made)
    assert len({crop.tobytes() for crop in made}) > 10  # of whole squares there are few


def test_a_crop_does_not_change_the_photograph() -> None:
    picture = np.full((100, 100, 3), 100, np.uint8)
    for seed in range(20):
        photograph_crop(np.random.default_rng(seed), [picture], 48)[:] = 0
    assert (picture == 100).all()


def test_a_folder_of_pictures_is_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    for name, value in [("b.png", 2), ("a.png", 1), ("deeper/c.png", 3)]:
        write_image(tmp_path / name, np.full((60, 80, 3), value, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    found = pictures_in(tmp_path)
    assert [int(picture[0, 0, 0]) for picture in found] == [1, 2, 3]
    assert all(picture.shape == (60, 80, 3) for picture in found)


def test_folders_without_pictures_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        pictures_in(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no pictures"):
        pictures_in(tmp_path)
    write_image(tmp_path / "icon.png", np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(UserError, match="smaller than"):
        pictures_in(tmp_path)
    (tmp_path / "icon.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="damaged, or no picture"):
        pictures_in(tmp_path)
