"""Pictures of things: as a camera might see them, and as the assistant draws them.

A picture shows one thing, or up to five of a kind, each in a cell of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from quintet.data.world.things import MOST_THINGS, THINGS, Thing
from quintet.media.emoji import render_emoji

WHITE = (255, 255, 255)
# Shares of the side of a picture or a cell; those of the test lie in a gap of training's.
TEST_SIZES = (0.68, 0.76)
TRAIN_SIZES = ((0.4, 0.67), (0.77, 0.95))
PURE = 0.3  # share of hues whose channels are each at one end: red, yellow, none ...
CELLS = 3  # on a side of a picture with several things, however few they are
TEST_HUE = 2  # of the six sixths of the colour circle, from red on


@dataclass(frozen=True)
class Look:
    """How a thing was shown: what a split keeps to itself, and what a picture can be told by."""

    background: str  # "plain", "gradient", "stripes", "noise", "blobs", "checkers"
    colours: tuple[str, str]  # of the background, "#rrggbb", before it is blurred
    size: float  # of the thing, or in the mean of all, as a share of the picture's side
    count: int = 1  # of the thing


def _colour(rng: np.random.Generator, split: str) -> np.ndarray:
    """A background colour [3], float in [0, 255]; the splits share no hue.

    A hue mixed with as much white or black as may be: walls and paper are pale, screens dark. The
    test split takes the hues (of the colour circle, in sixths) that training leaves out; of two
    colours in a hundred so little is left that they round to white, black or a grey.
    """
    while True:
        hue = 255.0 * rng.integers(0, 2, 3) if rng.random() < PURE else rng.uniform(0, 255, 3)
        if bool(_is_held_out(hue)) == (split == "test"):
            return hue + (255.0 * rng.integers(0, 2) - hue) * rng.random()


def _is_held_out(colours: np.ndarray) -> np.ndarray:
    """Whether each of `colours` [..., 3] has one of the hues of the test split, bool [...]."""
    red, green, blue = np.moveaxis(colours, -1, 0)
    hue = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
    return (hue / (np.pi / 3) + 6).astype(int) % 6 == TEST_HUE


def _two_colours(rng: np.random.Generator, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Two colours of `split`; what a training background mixes of them is no test colour."""
    while True:
        first, second = _colour(rng, split), _colour(rng, split)
        between = first + (second - first) * np.linspace(0, 1, 33)[:, None]
        if split == "test" or not _is_held_out(between).any():
            return first, second


def make_background(
    rng: np.random.Generator, split: str, size: int
) -> tuple[np.ndarray, str, tuple[str, str]]:
    """[size, size, 3], float in [0, 255], its kind and its colours. Checkers are kept for the
    test split."""
    first, second = _two_colours(rng, split)
    if split == "train" and rng.random() < 0.15:
        first = second = np.array(WHITE, float)
    y, x = np.mgrid[0:size, 0:size] / size
    kinds = ("plain", "gradient", "checkers") if split == "test" else (
        "plain", "plain", "gradient", "stripes", "noise", "blobs"
    )  # fmt: skip
    kind = kinds[int(rng.integers(len(kinds)))]
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    mix = np.zeros((size, size))
    if kind == "gradient":
        mix = (along - along.min()) / np.ptp(along)
    elif kind == "stripes":
        mix = 0.5 * (np.sin(along * rng.uniform(8, 30)) > 0)
    elif kind == "checkers":
        count = int(rng.integers(3, 8))
        mix = 0.5 * (((x * count).astype(int) + (y * count).astype(int)) % 2)
    elif kind == "noise":
        mix = rng.uniform(0, 0.35, (size, size))
    elif kind == "blobs":
        coarse = Image.fromarray((rng.random((4, 4)) * 255).astype(np.uint8))
        mix = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255
    return first + (second - first) * mix[..., None], kind, (_hex(first), _hex(second))


def _hex(colour: np.ndarray) -> str:
    """[3] in [0, 255] -> "#rrggbb"."""
    return "#" + "".join(f"{round(float(value)):02x}" for value in colour)


def render_picture(
    thing: Thing, rng: np.random.Generator, split: str, size: int = 96
) -> np.ndarray:
    """uint8 [size, size, 3]: the thing at a random size, place and tilt on a random background.

    `split` "test" uses backgrounds and sizes that "train" never shows.
    """
    return take_picture(thing, rng, split, size)[0]


def take_picture(
    thing: Thing, rng: np.random.Generator, split: str, size: int = 96
) -> tuple[np.ndarray, Look]:
    """The same, and how it came to look."""
    return _picture(thing, 1, rng, split, size, cells=1)


def picture_of_several(
    thing: Thing, count: int, rng: np.random.Generator, split: str, size: int = 96
) -> tuple[np.ndarray, Look]:
    """uint8 [size, size, 3]: so many of a thing, each in a cell of its own, and how it came to
    look. The cells are as large for one as for five: how large things are does not tell how many.
    """
    assert 1 <= count <= MOST_THINGS, count
    return _picture(thing, count, rng, split, size, CELLS)


def _picture(
    thing: Thing, count: int, rng: np.random.Generator, split: str, size: int, cells: int
) -> tuple[np.ndarray, Look]:
    """uint8 [size, size, 3], a thing in each of `count` squares, of `cells` on each side, now and
    then a little out of focus, as cameras are; and how it came to look."""
    background, kind, colours = make_background(rng, split, size)
    canvas = Image.fromarray(background.clip(0, 255).astype(np.uint8))
    side, shares = size // cells, []
    for place in rng.permutation(cells**2)[:count].tolist():
        top, left = (size * at // cells for at in divmod(place, cells))
        shares.append(_put(canvas, thing, rng, split, (left, top, side)) / cells)
    if rng.random() < 0.15:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, max(0.3, size / 80))))
    return np.asarray(canvas), Look(kind, colours, round(float(np.mean(shares)), 4), count)


def _put(
    canvas: Image.Image, thing: Thing, rng: np.random.Generator, split: str,
    cell: tuple[int, int, int],
) -> float:  # fmt: skip
    """Put a thing somewhere in a square `cell` (left, top, side) of the canvas; its size, as a
    share of that side."""
    left, top, side = cell
    share = rng.uniform(*TEST_SIZES) if split == "test" else rng.choice(
        [rng.uniform(*sizes) for sizes in TRAIN_SIZES]
    )  # fmt: skip
    emoji = render_emoji(thing.emoji)
    scale = share * side / max(emoji.size)
    emoji = emoji.resize(
        (max(1, round(emoji.width * scale)), max(1, round(emoji.height * scale))),
        Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC,
    )
    emoji = emoji.rotate(rng.uniform(-25, 25), Image.Resampling.BICUBIC, expand=True)
    left += int(rng.integers(min(0, side - emoji.width), max(0, side - emoji.width) + 1))
    top += int(rng.integers(min(0, side - emoji.height), max(0, side - emoji.height) + 1))
    canvas.paste(emoji, (left, top), emoji)
    return float(share)


def canonical_picture(thing: Thing, size: int = 96) -> np.ndarray:
    """uint8 [size, size, 3]: what the assistant draws: upright, centred, on white."""
    emoji = render_emoji(thing.emoji)
    scale = 0.9 * size / max(emoji.size)
    emoji = emoji.resize(
        (round(emoji.width * scale), round(emoji.height * scale)), Image.Resampling.LANCZOS
    )
    canvas = Image.new("RGB", (size, size), WHITE)
    canvas.paste(emoji, ((size - emoji.width) // 2, (size - emoji.height) // 2), emoji)
    return np.asarray(canvas)


def world_crop(
    rng: np.random.Generator, split: str, size: int, largest: int, drawn: float
) -> np.ndarray:
    """uint8 [size, size, 3]: a random part of a picture of a random thing, which is between
    `size` and `largest` pixels wide; a share of `drawn` is as the assistant draws it."""
    thing = THINGS[int(rng.integers(len(THINGS)))]
    width = round(size * (largest / size) ** rng.random())
    if rng.random() < drawn:
        picture = canonical_picture(thing, width)
    else:
        picture = render_picture(thing, rng, split, width)
    top, left = rng.integers(0, width - size + 1, 2)
    return picture[top : top + size, left : left + size]
