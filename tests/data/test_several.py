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
def test_sizes_are_the_splits_and_do_not_tell_the_number() -> None:
    mean: dict[tuple[str, int], float] = {}
    for split in SPLITS:
        for count in range(1, MOST_THINGS + 1):
            sizes = [_picture(count, seed, split)[1].size * CELLS for seed in range(200)]
            mean[split, count] = float(np.mean(sizes))
            if split == "test":
                assert all(TEST_SIZES[0] <= size <= TEST_SIZES[1] for size in sizes)
            elif count == 1:
                near = 1e-3  # sizes are rounded
                assert all(any(a - near <= s <= b + near for a, b in TRAIN_SIZES) for s in sizes)
    for split in SPLITS:
        means = [mean[split, count] for count in range(1, MOST_THINGS + 1)]
        assert np.ptp(means) < 0.06  # a standard error of one thing's mean is 0.012


@needs_world
@pytest.mark.parametrize(("count", "share"), [(1, 0.03), (5, 0.15)])
def test_they_are_seen_on_every_background(count: int, share: float) -> None:
    for thing in THINGS[::16]:
        rngs = [np.random.default_rng(5) for _ in range(2)]
        picture, look = picture_of_several(thing, count, rngs[0], "train", SIZE)
        empty = pictures.make_background(rngs[1], "train", SIZE)[0]
        assert look.count == count
        assert (np.abs(picture - empty).max(-1) > 24).mean() > share / 2


def test_more_than_one_has_its_own_word() -> None:
    odd = {
        "strawberry": "strawberries", "butterfly": "butterflies", "tomato": "tomatoes",
        "bus": "buses", "octopus": "octopuses", "cactus": "cactuses", "snowman": "snowmen",
        "fish": "fish", "apple": "apples", "house": "houses",
    }  # fmt: skip
    assert {name: plural(name) for name in odd} == odd
