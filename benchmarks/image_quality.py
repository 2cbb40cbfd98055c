"""The image tokenizer's quality at its bit rate, beside WebP and JPEG of as many bytes.

*Pictures*, none of which training sees: pages of text in held-out fonts at four font sizes, things
of the synthetic world, and photographs. *Codecs*: ours, of which the tokens count and not the two
numbers that say how they stand; WebP and JPEG, each picture's file as large as that at most, the
format's headers included (of a picture of 72 pixels they are a fifth), and shrunk where that is
better; and the original, which says what the reader of the pages, tesseract, gets wrong by itself.
*Scores*: those of `picture_scores`, each the mean over pictures with its 95 % bootstrap interval.

    quintet bench image-quality --model FOLDER
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks import Score, ScoreRow, interval, picture_scores, row
from benchmarks.picture_scores import FORMATS, SCORES, Squeezed, squeeze
from quintet.data.pages import Page, render_page
from quintet.data.photographs import photographs
from quintet.data.world.pictures import render_picture
from quintet.data.world.things import THINGS
from quintet.media.images import fit_picture, middle
from quintet.tokenizers.image import ImageTokenizer, to_images, to_pixels
from quintet.tokenizers.image_folder import load_image_tokenizer

PAGE_SIZE = 768  # pixels, or the tokenizer's own size if that is smaller
FONT_SIZES = (12, 16, 24, 48)
LINES = 4  # a page that has no room for so many is left out
PAGES, MORE_PAGES = 4, 16  # of each font size; more where pages are small and hold few words
SMALL_PAGE = 384
NUM_THINGS = 16
SEED = 77
PEER = "WebP"
ORIGINAL = "original"

Roundtrip = Callable[[np.ndarray], Squeezed | None]


@dataclass(frozen=True)
class PictureSet:
    """Pictures uint8 [H, W, 3], and what stands on them if they are pages."""

    name: str
    pictures: list[np.ndarray]
    texts: list[str | None]


@dataclass(frozen=True)
class Codec:
    """There and back; None where a picture does not fit into the bytes that there are."""

    name: str
    roundtrip: Roundtrip


@dataclass(frozen=True)
class Figures:
    """What one codec reached on one set: values [pictures, scores], not a number where missed."""

    codec: str
    values: np.ndarray
    num_bytes: float  # mean of a picture's
    bits_per_pixel: float
    shrunk: float  # mean share of a side that was left
    made: int  # pictures that fit into the bytes that there were

    @property
    def name(self) -> str:
        """With the bytes reached, and whether pictures were shrunk for that."""
        if self.codec == ORIGINAL:
            return self.codec
        return f"{self.codec} ({self.num_bytes:,.0f} bytes{self.remark})"

    @property
    def remark(self) -> str:
        """How far pictures were shrunk, and for how many there were bytes enough."""
        shrunk = f", shrunk to {self.shrunk:.0%}" if self.shrunk < 1 else ""
        return shrunk + (f", in {self.made} of {len(self.values)}" if self.missed else "")

    @property
    def missed(self) -> bool:
        """Whether some pictures did not fit into the bytes that there were."""
        return self.made < len(self.values)

    def judged(self, score: Score) -> np.ndarray:
        """The values of one score, without the pictures that it does not judge."""
        column = self.values[:, SCORES.index(score)]
        judged: np.ndarray = column[np.isfinite(column)]
        return judged


@torch.no_grad()
def run(model: str = "nano") -> list[ScoreRow]:
    """Every score of every codec on every set. Prints a table.

    Raises:
        UserError: the model cannot be loaded, or the fonts, the photographs or the pictures of
            the world are not installed.
    """
    torch.set_num_threads(1)
    console = Console()
    tokenizer = load_image_tokenizer(model)
    size, patch = tokenizer.config.size, tokenizer.config.patch
    sets = [*page_sets(size, patch), thing_set(size), photograph_set(size, patch)]
    results = {one.name: [judge(codec, one) for codec in codecs(tokenizer, one)] for one in sets}
    _print(console, model, sets, results)
    if not picture_scores.tesseract_is_here():
        console.print(
            "The character error rate (CER) is left out: the program tesseract is not installed; "
            "on Debian, install the packages tesseract-ocr and tesseract-ocr-eng."
        )
    return [line for name, figures in results.items() for line in _rows(name, figures)]


# Pictures


def page_sets(size: int, patch: int) -> list[PictureSet]:
    """A set for each font size of which a page can hold `LINES` lines; deterministic."""
    side = min(size, PAGE_SIZE - PAGE_SIZE % patch)
    count = PAGES if side >= SMALL_PAGE else MORE_PAGES
    sets = []
    for font_size in FONT_SIZES:
        if LINES * font_size > side:
            continue
        made: list[Page] = [
            render_page(np.random.default_rng((SEED, font_size, i)), "test", side, font_size)
            for i in range(count)
        ]
        name = f"pages {font_size} px"
        sets.append(PictureSet(name, [page.pixels for page in made], [page.text for page in made]))
    return sets


def thing_set(size: int) -> PictureSet:
    """Every so many of the world's things, on backgrounds and in sizes of the test split."""
    chosen = [THINGS[i * len(THINGS) // NUM_THINGS] for i in range(NUM_THINGS)]
    made = [
        render_picture(thing, np.random.default_rng((SEED, i)), "test", size)
        for i, thing in enumerate(chosen)
    ]
    return PictureSet("things", made, [None] * len(made))


def photograph_set(size: int, patch: int) -> PictureSet:
    """The held-out photographs, shrunk to `size` but never enlarged, cut to whole patches."""
    fitted = []
    for picture in photographs("test"):
        filled, (height, width) = fit_picture(Image.fromarray(picture), size, patch)
        fitted.append(middle(filled, height - height % patch, width - width % patch))
    return PictureSet("photographs", fitted, [None] * len(fitted))


# Codecs


def codecs(tokenizer: ImageTokenizer, pictures: PictureSet) -> list[Codec]:
    """Ours, then the formats with as many bytes; of pages also the original, for its reader."""
    made = [Codec("ours", partial(ours, tokenizer))]
    made += [Codec(kind, partial(_format, tokenizer, kind)) for kind in FORMATS]
    if any(text is not None for text in pictures.texts) and picture_scores.tesseract_is_here():
        made.append(Codec(ORIGINAL, lambda pixels: Squeezed(pixels, pixels.size)))
    return made


def num_bytes(tokenizer: ImageTokenizer, pixels: np.ndarray) -> int:
    """What the ids of a picture take, each in as many bits as the codebook asks for."""
    height, width = pixels.shape[:2]
    return math.ceil(height * width * tokenizer.config.bits_per_pixel / 8)


def ours(tokenizer: ImageTokenizer, pixels: np.ndarray) -> Squeezed:
    made_13HW = tokenizer.decode(tokenizer.encode(to_images(pixels[None])))
    return Squeezed(to_pixels(made_13HW)[0], num_bytes(tokenizer, pixels))


def _format(tokenizer: ImageTokenizer, kind: str, pixels: np.ndarray) -> Squeezed | None:
    return squeeze(pixels, kind, num_bytes(tokenizer, pixels))


def judge(codec: Codec, pictures: PictureSet) -> Figures:
    """All scores of one codec on all pictures; of an original only how it is read."""
    values, made = [], []
    area = 0
    for pixels, text in zip(pictures.pictures, pictures.texts, strict=True):
        squeezed = codec.roundtrip(pixels)
        if squeezed is None:
            values.append([float("nan")] * len(SCORES))
            continue
        scores = picture_scores.score(pixels, squeezed.pixels, text)
        values.append([float("nan")] * 2 + scores[2:] if codec.name == ORIGINAL else scores)
        made.append(squeezed)
        area += pixels.shape[0] * pixels.shape[1]
    total = sum(one.num_bytes for one in made)
    return Figures(
        codec.name, np.array(values), total / max(1, len(made)), 8 * total / max(1, area),
        float(np.mean([one.shrunk for one in made])) if made else 1.0, len(made),
    )  # fmt: skip


# Rows


def _rows(name: str, figures: list[Figures]) -> list[ScoreRow]:
    """One row for each codec and score that judged anything; ours has WebP's value beside it,
    if WebP made all of the pictures."""
    rows: list[ScoreRow] = []
    peer = next(one for one in figures if one.codec == PEER)
    for one in figures:
        if one.codec == "ours":
            bits = one.bits_per_pixel
            plain = row(
                f"{name}, ours, bits per pixel",
                "bit/px",
                bits,
                None if peer.missed else peer.bits_per_pixel,
            )
            rows.append({**plain, "low": bits, "high": bits, "n": len(one.values)})
        for score in SCORES:
            judged = one.judged(score)
            if not len(judged):
                continue
            value, low, high = interval(judged)
            beside = None
            # A ratio of decibels says nothing, and there is none to an error rate of zero.
            if one.codec == "ours" and score.unit != "dB" and not peer.missed:
                beside = float(peer.judged(score).mean()) or None
            plain = row(f"{name}, {one.name}, {score.name}", score.unit, value, beside)
            rows.append({**plain, "low": low, "high": high, "n": len(judged)})
    return rows


def _print(
    console: Console, model: str, sets: list[PictureSet], results: dict[str, list[Figures]]
) -> None:
    """A block of lines for each set, with mean and 95 % interval of each score."""
    table = Table("", "bytes", "bit/px", title=f"image quality of {model}")
    shown = [s for s in SCORES if any(len(f.judged(s)) for fs in results.values() for f in fs)]
    for score in shown:
        table.add_column(f"{score.name} {'↓' if score.less else '↑'}", justify="right")
    for pictures in sets:
        table.add_section()
        height, width = pictures.pictures[0].shape[:2]
        table.add_row(f"[bold]{len(pictures.pictures)} {pictures.name}, {width} x {height}")
        for one in results[pictures.name]:
            cells = [_cell(one.judged(score)) for score in shown]
            if one.codec == ORIGINAL:
                table.add_row(one.codec, "", "", *cells)
                continue
            if not one.made:
                table.add_row(one.codec, "too few")
                continue
            rate = f"{one.bits_per_pixel:.3f}"
            table.add_row(f"{one.codec}{one.remark}", f"{one.num_bytes:,.0f}", rate, *cells)
    console.print(table)


def _cell(judged: np.ndarray) -> str:
    if not len(judged):
        return "-"
    return "{:.3f} [{:.3f}, {:.3f}]".format(*interval(judged))
