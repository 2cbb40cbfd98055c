"""How close a decoded picture is to its original, and codecs that get the same number of bytes.

Every picture here is uint8 [H, W, 3]. The order of `SCORES` is that of every list of figures.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from benchmarks import Score
from quintet.config import UserError

SCORES = (
    Score("PSNR", "dB"),
    Score("SSIM", "SSIM"),  # Wang et al. 2004: Gaussian window, of each colour, mean
    Score("CER", "CER", less=True),  # wrong, missing and added characters over all characters
)
FORMATS = ("WebP", "JPEG")
SMALLEST_ERROR = 1e-3  # squared, of 255: the PSNR of equal pictures is not infinite but 78 dB
READING_SECONDS = 300.0  # of a picture; two do, but not on a machine that is busy
SHARES = (1.0, 0.8, 0.65, 0.5, 0.35, 0.2)  # of a side
SMALLEST_SIDE = 8  # pixels


@dataclass(frozen=True)
class Squeezed:
    """A picture after a codec, as large as before; `shrunk` is the share of a side it had inside,
    1 where it was not shrunk."""

    pixels: np.ndarray
    num_bytes: int
    shrunk: float = 1.0


def psnr(original: np.ndarray, decoded: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels, over all colours."""
    difference = original.astype(np.float64) - decoded.astype(np.float64)
    error = max(float(np.square(difference).mean()), SMALLEST_ERROR)
    return 10 * float(np.log10(255**2 / error))


def ssim(original: np.ndarray, decoded: np.ndarray) -> float:
    """Structural similarity with the settings of its paper, to 1."""
    return float(structural_similarity(
        original, decoded, data_range=255, channel_axis=2,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    ))  # fmt: skip


def score(original: np.ndarray, decoded: np.ndarray, text: str | None) -> list[float]:
    """The figures of `SCORES`; the last is not a number without a `text` or who could read it."""
    wrong = float("nan")
    if text is not None and tesseract_is_here():
        wrong = error_rate(text, read_page(decoded))
    return [psnr(original, decoded), ssim(original, decoded), wrong]


# Reading


def error_rate(text: str, read: str) -> float:
    """The share of the characters of `text` that are wrong; above 1 where much was added.

    Any white space counts as one space.
    """
    text, read = (" ".join(words.split()) for words in (text, read))
    return edit_distance(text, read) / max(1, len(text))


def edit_distance(first: str, second: str) -> int:
    """The fewest characters to insert, remove or replace that turn `first` into `second`."""
    letters_N = np.array([ord(c) for c in second], np.int64)
    places = np.arange(len(second) + 1)
    row = places  # of the table of distances: from what was read of `first` to each beginning
    for count, letter in enumerate(first, 1):
        kept_or_replaced = row[:-1] + (letters_N != ord(letter))
        row = np.concatenate([[count], np.minimum(row[1:] + 1, kept_or_replaced)])
        # Insertions, at one apiece, from the cheapest place further left.
        row = np.minimum.accumulate(row - places) + places
    return int(row[-1])


@functools.cache
def tesseract_is_here() -> bool:
    """Whether the program and its data for English are installed."""
    if shutil.which("tesseract") is None:
        return False
    done = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True)
    return "eng" in done.stdout.split()


def read_page(pixels: np.ndarray) -> str:
    """The text that tesseract reads in one block.

    Raises:
        UserError: it failed, or took too long.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    try:
        done = subprocess.run(
            ["tesseract", "-", "-", "--psm", "6", "-l", "eng"],
            input=file.getvalue(),
            capture_output=True,
            check=True,
            timeout=READING_SECONDS,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},  # more threads make it slower
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"tesseract read a page for {READING_SECONDS:g} s; run this on a machine that is free."
        ) from None
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"tesseract failed ({error.stderr.decode(errors='replace').strip()}); install it again."
        ) from None
    return done.stdout.decode(errors="replace")


# Codecs


def squeeze(pixels: np.ndarray, kind: str, budget: int) -> Squeezed | None:
    """There and back through the best file of `kind` that has at most `budget` bytes.

    At each of a few sizes the highest quality setting that fits is tried; the best is that with
    the highest PSNR. None where not even the smallest size fits.
    """
    whole = Image.fromarray(pixels)
    made: list[Squeezed] = []
    for share in SHARES:
        width, height = (max(SMALLEST_SIDE, round(side * share)) for side in whole.size)
        image = whole if share == 1 else whole.resize((width, height), Image.Resampling.LANCZOS)
        data = _best(image, kind, budget)
        if data is None:
            continue
        with Image.open(io.BytesIO(data)) as decoded:
            restored = decoded.convert("RGB").resize(whole.size, Image.Resampling.BICUBIC)
        made.append(Squeezed(np.asarray(restored), len(data), share))
    return max(made, key=lambda one: psnr(pixels, one.pixels), default=None)


def _best(image: Image.Image, kind: str, budget: int) -> bytes | None:
    """The file of the highest quality within the budget, found by halving; None without one."""
    best = _encoded(image, kind, 1)
    if len(best) > budget:
        return None
    fits, too_large = 1, 101
    while too_large - fits > 1:
        quality = (fits + too_large) // 2
        data = _encoded(image, kind, quality)
        if len(data) <= budget:
            best, fits = data, quality
        else:
            too_large = quality
    return best


def _encoded(image: Image.Image, kind: str, quality: int) -> bytes:
    file = io.BytesIO()
    if kind == "WebP":
        image.save(file, "WEBP", quality=quality, method=6)
    else:
        image.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()
