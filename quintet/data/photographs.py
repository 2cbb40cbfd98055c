"""Photographs without a download: those in scikit-image's wheel, and a person's own.

The test split has other subjects than training: a cat, a cup, a rocket at night, gravel.

Shapes: H and W pixels.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from quintet.config import UserError
from quintet.media.images import SUFFIXES, read_image

# Both views of the motorcycle stand on one side, as do all pictures that show the same thing.
TRAIN_FILES = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "coins.png", "grass.png",
    "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "motorcycle_right.png",
    "page.png", "retina.jpg", "text.png",
)  # fmt: skip
TEST_FILES = ("chelsea.png", "coffee.png", "gravel.png", "rocket.jpg")
SMALLEST_SIDE = 48  # pixels; smaller pictures are icons
LONGEST_SIDE = 1_024  # pixels; larger pictures of a person are shrunk: 3 MB each
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luminance of red, green and blue


def photographs(split: str) -> list[np.ndarray]:
    """The photographs of a split, uint8 [H, W, 3]; grey ones have three equal colours.

    Raises:
        UserError: scikit-image is not installed.
    """
    return [np.asarray(read_image(path)) for path in photograph_files(split)]


def photograph_files(split: str) -> list[Path]:
    """Their files, which come with scikit-image.

    Raises:
        UserError: it is not installed.
    """
    # Its folder is looked up, not imported: scikit-image would load scipy.
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise UserError(
            "The photographs come with scikit-image, which is not installed; install it: "
            "pip install scikit-image"
        )
    folder = Path(found.origin).parent / "data"
    files = TEST_FILES if split == "test" else TRAIN_FILES
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"This scikit-image lacks the photographs {', '.join(missing)}; install version 0.26: "
            "pip install scikit-image==0.26.0"
        )
    return [folder / name for name in files]


def files_in(folder: Path | str) -> list[Path]:
    """The picture files of `folder` and below it, in the order of their names.

    Raises:
        UserError: there is no such folder, or it holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}; name a folder of pictures.")
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    if not files:
        raise UserError(f"{folder} holds no pictures; name a folder of PNG, JPEG or WebP files.")
    return files


def pictures_in(folder: Path | str) -> list[np.ndarray]:
    """Every picture of `folder` and below it, uint8 [H, W, 3], no side above `LONGEST_SIDE`.

    Raises:
        UserError: there is no such folder, it holds no picture, or one cannot be read or is tiny.
    """
    pictures = []
    for path in files_in(folder):
        image = read_image(path, LONGEST_SIDE)
        if min(image.size) < SMALLEST_SIDE:
            raise UserError(
                f"{path} is smaller than {SMALLEST_SIDE} pixels; remove it from the folder."
            )
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        pictures.append(np.asarray(image))
    return pictures


def photograph_crop(
    rng: np.random.Generator, photographs: list[np.ndarray], size: int
) -> np.ndarray:
    """uint8 [size, size, 3]: a square from somewhere in one of `photographs`.

    Its scale lies between 1:1 and the whole shorter side; a picture smaller than `size` is
    enlarged. A flip and mild changes of light and colour keep few pictures from being memorized.
    """
    picture = photographs[int(rng.integers(len(photographs)))]
    height, width = picture.shape[:2]
    shorter = min(height, width)
    side = min(shorter, round(np.exp(rng.uniform(np.log(min(size, shorter)), np.log(shorter)))))
    top = int(rng.integers(height - side + 1))
    left = int(rng.integers(width - side + 1))
    square = picture[top : top + side, left : left + side]
    if side != size:
        square = _resized(square, size)
    if rng.random() < 0.5:
        square = square[:, ::-1]
    return _relit(rng, square)


def _resized(square: np.ndarray, size: int) -> np.ndarray:
    """`square` with `size` pixels on a side; shrinking averages, so that nothing flickers."""
    image = Image.fromarray(square)
    # Whole factors are averaged away first, which is fast; the rest is left to the filter.
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0))


def _relit(rng: np.random.Generator, square: np.ndarray) -> np.ndarray:
    """Half of them with another brightness, contrast, saturation and colour of the light."""
    if rng.random() < 0.5:
        return np.array(square)  # a copy, which may be written to
    contrast, saturation = rng.uniform(0.75, 1.25, 2).astype(np.float32)
    light = rng.uniform(-20, 20) + rng.uniform(-12, 12, 3)
    values = square.astype(np.float32)
    grey = (values @ GREY)[..., None]
    coloured = grey + (values - grey) * saturation
    middle = grey.mean()
    relit = middle + (coloured - middle) * contrast + light.astype(np.float32)
    changed: np.ndarray = np.round(relit).clip(0, 255).astype(np.uint8)
    return changed
