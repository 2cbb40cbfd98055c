"""The pictures of the idea show what the code says today."""

from __future__ import annotations

import re

import numpy as np
import pytest

from quintet.model.cache import FREE
from quintet.timeline.masks import live_mask
from quintet.timeline.timeline import live_rank
from scripts.draw_idea import FOLDER, PICTURES, WINDOW, held_slots, with_prompt
from scripts.scene_drawing import make_scene


@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_is_what_the_code_draws(name: str) -> None:
    committed = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert committed == PICTURES[name](), "run python -m scripts.draw_idea and look at the picture"


def test_no_other_pictures_lie_there() -> None:
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(PICTURES)


def test_both_masks_allow_the_same_pairs() -> None:
    """As the picture of the masks says of itself."""
    streams, rows = make_scene().streams(), make_scene().rows()
    rank = live_rank(streams)
    moved = np.zeros((len(rows), len(rows)), bool)
    moved[np.ix_(rank, rank)] = live_mask(streams)
    assert np.array_equal(moved, live_mask(rows))
    assert np.array_equal(moved, np.tril(np.ones_like(moved)))
    drawn = re.findall(r"(\d+) pairs in both", PICTURES["masks"]())
    assert drawn == [str(moved.sum())]


def test_the_cache_holds_what_the_window_sees() -> None:
    """The two halves of the picture of the window, compared: what lies in the cache after a step is
    what the last row of that step may see."""
    rows = with_prompt()
    mask = live_mask(rows, WINDOW)
    for line, held in enumerate(held_slots(rows)):
        last = int(np.flatnonzero(rows.step == line - 1)[-1])  # the prompt ends with step -1
        assert sorted(held[held != FREE]) == np.flatnonzero(mask[last]).tolist()
