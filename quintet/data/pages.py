"""Pages of text in real fonts: what the image tokenizer learns to keep legible.

*Fonts*: training has those that come with matplotlib, the test those of the Debian package
fonts-liberation. *Text*: the prose of Python's own manual (`pydoc_data.topics`), each paragraph
on one side only; training also has words in no order, numbers, capitals, signs and code.
*Looks*: test pages are upright, in dark ink on white, their lines on whole pixels. Training sees
every phase of the tokenizer's patches: lines between pixels, a slight tilt, colours, uneven paper.

Shapes: H and W pixels.
"""

from __future__ import annotations

import functools
import math
import re
import string
import zlib
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from quintet.config import UserError

SMALLEST, LARGEST = 12, 48  # font sizes in pixels
TEST_SHARE = 4  # one paragraph in so many is the test's
CONTRAST = 90.0  # of ink and paper, in luminance from 0 to 255
MOST_TILT = 1.5  # degrees
TRAIN_FONTS = tuple(f"DejaVu{family}.ttf" for family in (
    "Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique",
    "Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic",
    "SansMono", "SansMono-Bold", "SansMono-Oblique", "SansMono-BoldOblique",
)) + tuple(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta"))  # fmt: skip
TEST_FONTS = tuple(f"Liberation{family}.ttf" for family in (
    "Sans-Regular", "Serif-Regular", "Mono-Regular", "Sans-Bold", "Serif-Bold"
))  # fmt: skip
SYSTEM_FONTS = Path("/usr/share/fonts")
# How much of each kind of text training has.
KINDS = {"prose": 0.5, "words": 0.15, "numbers": 0.12, "capitals": 0.08, "signs": 0.05, "code": 0.1}
SIGNS = string.ascii_letters + string.digits + string.punctuation + "äöüßéèàçñøåÄÖÜÉ£§°"


@dataclass(frozen=True)
class Page:
    """`pixels` uint8 [H, W, 3]; `text` is exactly what stands on them, lines joined by newlines."""

    pixels: np.ndarray
    text: str
    font_size: int


@dataclass(frozen=True)
class _Layout:
    """How lines are set; lengths in pixels."""

    margin: float
    leading: float  # from one line's top to the next one's
    indent: float  # of a paragraph's first line
    justified: bool  # spaces are stretched until lines are equally long
    tilt: float  # degrees


def render_page(
    rng: np.random.Generator, split: str, size: int = 768, font_size: int | None = None
) -> Page:
    """A square page, `size` pixels on a side, full of word-wrapped lines.

    Args:
        font_size: in pixels; None draws one log-uniformly from `SMALLEST` to `LARGEST`.

    Raises:
        UserError: the fonts of the test split are not installed.
    """
    if font_size is None:
        font_size = round(_random_size(rng))
    font = _random_font(rng, split, font_size)
    layout = _random_layout(rng, split, size, font_size)
    ink = Image.new("L", (size, size))
    draw = ImageDraw.Draw(ink)
    lines: list[str] = []
    top, width = layout.margin, size - 2 * layout.margin
    while top + font_size <= size - layout.margin:
        words = [w for w in _passage(rng, split, 400).split() if font.getlength(w) <= width]
        if not words:
            if font.getlength("in") > width:
                break  # the page is too narrow for any word
            continue
        left = layout.indent
        while words and top + font_size <= size - layout.margin:
            line, words = _first_line(words, font, width - left)
            if line:
                gap = _gap(line, font, width - left) if layout.justified and words else None
                _draw_line(draw, line, layout.margin + left, top, font, gap)
                lines.append(" ".join(line))
                top += layout.leading
            left = 0.0
    if layout.tilt:
        ink = ink.rotate(layout.tilt, Image.Resampling.BICUBIC)
    return Page(_paint(rng, split, np.asarray(ink)), "\n".join(lines), font_size)


def render_crop(
    rng: np.random.Generator, split: str, size: int, small_text: float = 1.0
) -> np.ndarray:
    """uint8 [size, size, 3]: a piece from somewhere on such a page, made without the rest of it.

    Args:
        small_text: how much small text is preferred; with 2, half of it is below 17 pixels.
    """
    font_size = _random_size(rng, small_text)
    font = _random_font(rng, split, font_size)
    layout = _random_layout(rng, split, size, font_size)
    tilt = 2 * layout.tilt  # a piece has no margins that a tilt could cut off
    side = size + (2 * math.ceil(size * math.tan(math.radians(abs(tilt)))) if tilt else 0)
    ink = Image.new("L", (side, side))
    draw = ImageDraw.Draw(ink)
    chars = math.ceil(side / (0.4 * font_size)) + 3  # of a line: letters are half as wide as high
    top = _place(rng, -layout.leading, 0, split)
    num_lines = math.ceil((side - top) / layout.leading)
    text = _passage(rng, split, num_lines * (chars + 1))
    # Most pieces lie within lines; some show where all of them begin.
    at_margin = rng.random() < 0.25
    left = _place(rng, 0, side / 2, split) if at_margin else 0.0
    for index in range(num_lines):
        line = text[index * chars : (index + 1) * chars]
        if at_margin:
            line = line.lstrip()
        else:
            left = _place(rng, -2 * font_size, 0, split)
        if rng.random() > 0.04:  # some lines are empty
            draw.text((left, top + index * layout.leading), line, 255, font)
    if tilt:
        ink = ink.rotate(tilt, Image.Resampling.BICUBIC)
        edge = (side - size) // 2
        ink = ink.crop((edge, edge, edge + size, edge + size))
    return _paint(rng, split, np.asarray(ink))


# Fonts and layout


@functools.cache
def font_files(split: str) -> tuple[Path, ...]:
    """The fonts of a split; the two have none in common.

    Raises:
        UserError: the fonts of the test split are not installed.
    """
    if split == "train":
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        return tuple(folder / name for name in TRAIN_FONTS)
    found = {path.name: path for path in sorted(SYSTEM_FONTS.rglob("Liberation*.ttf"))}
    if not found.keys() >= set(TEST_FONTS):
        raise UserError(
            "The test pages are set in the fonts Liberation Sans, Serif and Mono, which are not "
            "installed; install the Debian package fonts-liberation."
        )
    return tuple(found[name] for name in TEST_FONTS)


@functools.lru_cache(maxsize=256)
def _load_font(path: Path, size: float) -> ImageFont.FreeTypeFont:
    # The basic layout is in every Pillow, so that pages are the same everywhere.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _random_font(rng: np.random.Generator, split: str, font_size: float) -> ImageFont.FreeTypeFont:
    files = font_files(split)
    return _load_font(files[int(rng.integers(len(files)))], round(font_size, 1))


def _random_size(rng: np.random.Generator, small_text: float = 1.0) -> float:
    """Log-uniform, or, with `small_text` above 1, more often small."""
    return float(SMALLEST * (LARGEST / SMALLEST) ** (rng.random() ** small_text))


def _random_layout(rng: np.random.Generator, split: str, size: int, font_size: float) -> _Layout:
    if split == "test":
        return _Layout(round(0.04 * size), round(1.3 * font_size), 0.0, False, 0.0)
    return _Layout(
        margin=rng.uniform(0.04, 0.08) * size,
        leading=rng.uniform(1.15, 1.6) * font_size,
        indent=rng.uniform(0, 2) * font_size if rng.random() < 0.3 else 0.0,
        justified=bool(rng.random() < 0.3),
        tilt=rng.uniform(-MOST_TILT, MOST_TILT) if rng.random() < 0.15 else 0.0,
    )


def _place(rng: np.random.Generator, low: float, high: float, split: str) -> float:
    """Somewhere between; on a whole pixel in half of training and always in the test."""
    place = rng.uniform(low, high)
    return float(round(place)) if split == "test" or rng.random() < 0.5 else place


def _first_line(
    words: list[str], font: ImageFont.FreeTypeFont, width: float
) -> tuple[list[str], list[str]]:
    """As many of `words` as fit into `width`, none if the first does not; and the others."""
    space = font.getlength(" ")
    used = -space
    for count, word in enumerate(words):
        used += space + font.getlength(word)
        if used > width:
            return words[:count], words[count:]
    return words, []


def _gap(line: list[str], font: ImageFont.FreeTypeFont, width: float) -> float | None:
    """The space between words that makes `line` as long as `width`; None for a single word."""
    if len(line) == 1:
        return None
    return (width - sum(font.getlength(word) for word in line)) / (len(line) - 1)


def _draw_line(
    draw: ImageDraw.ImageDraw, line: list[str], left: float, top: float,
    font: ImageFont.FreeTypeFont, gap: float | None,
) -> None:  # fmt: skip
    if gap is None:
        draw.text((left, top), " ".join(line), 255, font)
        return
    for word in line:
        draw.text((left, top), word, 255, font)
        left += font.getlength(word) + gap


# Colours


def _paint(rng: np.random.Generator, split: str, ink_HW: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: paper where `ink_HW` (uint8) is 0, ink where it is 255."""
    if split == "test":
        paper = np.full(3, 255.0 - rng.integers(16), np.float32)
        ink = np.full(3, rng.integers(40), np.float32)
        other = paper
    else:
        ink, paper, other = _colours(rng)
    share = (ink_HW.astype(np.float32) / 255)[..., None]
    if other is not paper:
        paper = paper + (other - paper) * _blobs(rng, ink_HW.shape[0])[..., None]
    return np.round(paper + (ink - paper) * share).clip(0, 255).astype(np.uint8)


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ink, paper and what the paper turns into elsewhere (the same array on even paper)."""
    kind = rng.random()
    if kind < 0.3:
        ink, paper = np.zeros(3), np.full(3, 255.0)
    elif kind < 0.6:
        ink, paper = rng.uniform(0, 70, 3), rng.uniform(200, 255, 3)
    elif kind < 0.75:
        ink, paper = rng.uniform(190, 255, 3), rng.uniform(0, 60, 3)
    else:
        ink, paper = rng.uniform(0, 255, (2, 3))
        while abs(_luminance(paper) - _luminance(ink)) < CONTRAST:
            ink, paper = rng.uniform(0, 255, (2, 3))
    ink, paper = ink.astype(np.float32), paper.astype(np.float32)
    if rng.random() < 0.75:
        return ink, paper, paper
    sign = np.sign(_luminance(paper) - _luminance(ink))
    while True:  # the mixtures of both keep the contrast, being on one side of the ink
        other = rng.uniform(0, 255, 3).astype(np.float32)
        if sign * (_luminance(other) - _luminance(ink)) >= CONTRAST:
            return ink, paper, other


def _luminance(colour: np.ndarray) -> float:
    return float(colour @ np.array([0.299, 0.587, 0.114], colour.dtype))


def _blobs(rng: np.random.Generator, size: int) -> np.ndarray:
    """Soft clouds, float32 [size, size] in [0, 1]."""
    coarse = Image.fromarray((rng.random((4, 4)) * 255).astype(np.uint8))
    clouds = coarse.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(clouds, np.float32) / 255


# Text


@functools.cache
def paragraphs(split: str) -> tuple[str, ...]:
    """Plain English of Python's manual; a paragraph's own letters decide on its split."""
    found = dict.fromkeys(p for p in _manual() if _is_prose(p))  # in order, each once
    sides = {p: "train" if zlib.crc32(p.encode()) % TEST_SHARE else "test" for p in found}
    return tuple(p for p in found if sides[p] == split)


@functools.cache
def _code() -> tuple[str, ...]:
    """What is no prose: grammar, tables, interpreter sessions."""
    return tuple(p for p in _manual() if not _is_prose(p) and re.search(r"[=(\[{<]", p))


@functools.cache
def _words() -> tuple[str, ...]:
    return tuple(sorted({w for p in paragraphs("train") for w in p.split() if w.isalpha()}))


def _manual() -> list[str]:
    """Every paragraph, its spaces and newlines flattened, in plain ASCII."""
    plain = str.maketrans({**dict(zip("“”‘’–—", "\"\"''--", strict=True)), "…": "..."})
    pieces = [p for topic in sorted(topics) for p in re.split(r"\n\s*\n", topics[topic])]
    flat = [" ".join(piece.translate(plain).split()) for piece in pieces]
    return [p.encode("ascii", "ignore").decode() for p in flat if p]


def _is_prose(paragraph: str) -> bool:
    letters = sum(c.isalpha() or c in " ,.;'" for c in paragraph)
    marked = any(c in paragraph for c in "*|`<>=\\{}_")
    return len(paragraph) >= 60 and not marked and letters >= 0.95 * len(paragraph)


def _passage(rng: np.random.Generator, split: str, length: int) -> str:
    """One line of text, `length` characters or more, of one kind."""
    kind = "prose" if split == "test" else str(rng.choice(list(KINDS), p=list(KINDS.values())))
    pieces: list[str] = []
    have = 0
    while have < length:
        pieces.append(_piece(rng, split, kind))
        have += len(pieces[-1]) + 1
    return " ".join(pieces)


def _piece(rng: np.random.Generator, split: str, kind: str) -> str:
    """A few words of one kind."""
    if kind == "words":
        word = _any(rng, _words())
        return word.capitalize() if rng.random() < 0.3 else word
    if kind == "numbers":
        return _number(rng)
    if kind == "signs":
        chosen = rng.integers(len(SIGNS), size=int(rng.integers(1, 9)))
        return "".join(SIGNS[i] for i in chosen)
    text = _any(rng, _code() if kind == "code" else paragraphs(split))
    if split == "train":  # from any word on, not always a paragraph's first
        text = text[text.find(" ", int(rng.integers(len(text)))) + 1 :]
    return text.upper() if kind == "capitals" else text


def _number(rng: np.random.Generator) -> str:
    a, b, c = (int(n) for n in rng.integers(0, (100, 10_000, 60)))
    forms = (
        f"{a}", f"{b}", f"{b:,}.{a:02d}", f"{a}.{c}", f"{a} %", f"${b}.{a:02d}", f"-{c}",
        f"{1900 + a}-{c % 12 + 1:02d}-{a % 28 + 1:02d}", f"{a % 24}:{c:02d}", f"0x{b:x}",
        f"+{a} {b:04d} {c:02d}",
    )  # fmt: skip
    return _any(rng, forms)


def _any(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
