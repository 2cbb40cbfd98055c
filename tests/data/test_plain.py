"""Plain areas: of every colour, in one piece, as a passage, or with sharp edges."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.data.plain import plain_crop


@pytest.mark.parametrize("size", [6, 48])
def test_crops_are_deterministic_and_vary(size: int) -> None:
    made = [plain_crop(np.random.default_rng(seed), size) for seed in range(40)]
    assert all(crop.shape == (size, size, 3) and crop.dtype == np.uint8 for crop in made)
    assert np.array_equal(made[7], plain_crop(np.random.default_rng(7), size))
    assert len({crop.tobytes() for crop in made}) > 30


def test_each_kind_comes_as_often() -> None:
    crops = [plain_crop(np.random.default_rng(seed), 48) for seed in range(300)]
    colours = np.array([len(np.unique(crop.reshape(-1, 3), axis=0)) for crop in crops])
    shares = [np.mean(colours == 1), np.mean(colours == 2), np.mean(colours > 2)]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.1)


def test_passages_have_no_steps() -> None:
    for seed in range(60):
        crop = plain_crop(np.random.default_rng(seed), 48).astype(int)
        if len(np.unique(crop.reshape(-1, 3), axis=0)) > 2:
            steps = [np.abs(np.diff(crop, axis=axis)).max() for axis in (0, 1)]
            assert max(steps) <= 7  # of 255, over 47 pixels along a side


def test_the_colours_reach_every_corner() -> None:
    crops = np.stack([plain_crop(np.random.default_rng(seed), 6) for seed in range(400)])
    pure = {tuple(int(value) for value in crop[0, 0]) for crop in crops}
    corners = {(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)}
    assert corners <= pure and len(pure) > 100
