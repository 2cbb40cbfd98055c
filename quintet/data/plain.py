"""Plain areas of every colour: what graphics and screens are made of, and photographs seldom show.

Shapes: H and W pixels.
"""

from __future__ import annotations

import numpy as np

PURE = 0.3  # share of colours whose channels are each at one end: red, cyan, white, black ...


def plain_crop(rng: np.random.Generator, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: one colour, a passage between two, or areas with sharp edges."""
    kind = int(rng.integers(3))
    first, second = _colour(rng), _colour(rng)
    if kind == 0:
        mix_HW = np.zeros((size, size))
    elif kind == 1:
        along = _along(rng, size)
        mix_HW = (along - along.min()) / np.ptp(along)
    else:
        edges = rng.uniform(0, 1, int(rng.integers(1, 4)))
        along = _along(rng, size)
        along = (along - along.min()) / np.ptp(along)
        mix_HW = (along[..., None] > edges).sum(-1) % 2
    pixels = first + (second - first) * mix_HW[..., None]
    return np.round(pixels).astype(np.uint8)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """[3], float in [0, 255]."""
    if rng.random() < PURE:
        return 255.0 * rng.integers(0, 2, 3)
    return rng.uniform(0, 255, 3)


def _along(rng: np.random.Generator, size: int) -> np.ndarray:
    """How far each pixel lies in some direction, [H, W]."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / size
    along: np.ndarray = x * np.cos(angle) + y * np.sin(angle)
    return along
