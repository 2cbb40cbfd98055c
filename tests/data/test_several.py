"""Pictures of several things: as many as are asked for, of sizes that do not tell how many."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from conftest import needs_world
from PIL import Image

from quintet.data.world import pictures
from quintet.data.world.pictures import CELLS, TEST_SIZES, TRAIN_SIZES, picture_of_several
from quintet.data.world.things import MOST_THINGS, THINGS, plural

SIZE = 96
SPLITS = ("train", "test")
SEEDS = range(24)


@pytest.fixture
def dots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thing is a black dot, and every background white."""
    dot = np.zeros((40, 40, 4), np.uint8)
    y, x = np.mgrid[:40, :40] - 19.5
    dot[..., 3] = 255 * (np.hypot(x, y) < 19)

    def white(*_: object) -> tuple[np.ndarray, str, tuple[str, str]]:
        return np.full((SIZE, SIZE, 3), 255.0), "plain", ("#ffffff", "#ffffff")

    monkeypatch.setattr(pictures, "render_emoji", lambda emoji: Image.fromarray(dot))
    monkeypatch.setattr(pictures, "make_background", white)


def _picture(count: int, seed: int, split: str) -> tuple[np.ndarray, pictures.Look]:
    return picture_of_several(THINGS[0], count, np.random.default_rng(seed), split, SIZE)


def _cells(picture: np.ndarray) -> Iterator[np.ndarray]:
    """bool [side, side] of each cell: where something is."""
    side = SIZE // CELLS
    dark = picture.mean(-1) < 128
    for place in range(CELLS**2):
        top, left = (side * at for at in divmod(place, CELLS))
        yield dark[top : top + side, left : left + side]


@pytest.mark.usefixtures("dots")
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("count", range(1, MOST_THINGS + 1))
def test_so_many_cells_hold_a_thing(count: int, split: str) -> None:
    for seed in SEEDS:
        picture, look = _picture(count, seed, split)
        # What was turned may reach into the neighbour's corner by a pixel or two.
        assert sum(cell.mean() > 0.05 for cell in _cells(picture)) == count == look.count


@pytest.mark.usefixtures("dots")
@pytest.mark.parametrize("count", range(1, MOST_THINGS + 1))
def test_the_place_does_not_tell_the_number(count: int) -> None:
    """Every cell is used as often as every other, but for chance."""
    made = [_picture(count, seed, "train")[0] for seed in range(400)]
    shares = np.mean([[cell.mean() > 0.05 for cell in _cells(picture)] for picture in made], axis=0)
    assert shares.shape == (CELLS**2,)
    # With one thing, a cell's standard error is a seventh.
    assert np.abs(shares * CELLS**2 / count - 1).max() < 0.6


@pytest.mark.usefixtures("dots")
def test_sizes_are_the_splits_and_do_not_tell_the_number() -> None:
    for split in SPLITS:
        dark = []  # of a thing's pixels, in the mean, by how many there are
        for count in range(1, MOST_THINGS + 1):
            made = [_picture(count, seed, split) for seed in range(200)]
            # Of the cell; a label is rounded, and tells the mean of several.
            sizes = [look.size * CELLS for _, look in made]
            if split == "test":
                assert all(TEST_SIZES[0] <= size <= TEST_SIZES[1] for size in sizes)
            elif count == 1:
                near = 1e-3
                assert all(any(a - near <= s <= b + near for a, b in TRAIN_SIZES) for s in sizes)
            dark.append(np.mean([(picture.mean(-1) < 128).sum() / count for picture, _ in made]))
        assert np.ptp(dark) < 0.15 * np.mean(dark)  # a standard error of the first is 0.03
        area = np.pi / 4 * np.mean(sizes) ** 2 * (SIZE / CELLS) ** 2
        assert np.mean(dark) == pytest.approx(area, rel=0.2)  # as large as the labels say


@needs_world
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("count", "share"), [(1, 0.005), (MOST_THINGS, 0.025)])
def test_they_are_seen_on_every_background(count: int, share: float, split: str) -> None:
    kinds = set()
    for seed in range(40):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        picture, look = picture_of_several(THINGS[seed], count, rngs[0], split, SIZE)
        empty = pictures.make_background(rngs[1], split, SIZE)[0]
        assert look.count == count
        assert (np.abs(picture - empty).max(-1) > 24).mean() > share, (seed, look)
        kinds.add(look.background)
    assert len(kinds) == (3 if split == "test" else 5)  # all that there are


def test_more_than_one_has_its_own_word() -> None:
    odd = {
        "strawberry": "strawberries", "butterfly": "butterflies", "tomato": "tomatoes",
        "bus": "buses", "octopus": "octopuses", "cactus": "cactuses", "snowman": "snowmen",
        "fish": "fish", "apple": "apples", "house": "houses",
    }  # fmt: skip
    assert {name: plural(name) for name in odd} == odd
