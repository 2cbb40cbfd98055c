"""Pages of text: deterministic, of disjoint splits, and with the text that they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quintet.config import UserError
from quintet.data import pages
from quintet.data.pages import font_files, paragraphs, render_crop, render_page


def _missing() -> str | None:
    try:
        font_files("test")
    except UserError as error:
        return str(error)
    return None


needs_fonts = pytest.mark.skipif(_missing() is not None, reason=_missing() or "")
SPLITS = ["train", pytest.param("test", marks=needs_fonts)]


@pytest.mark.parametrize("split", SPLITS)
def test_pages_are_deterministic_and_vary(split: str) -> None:
    made = [render_page(np.random.default_rng(seed), split, 192) for seed in range(12)]
    again = render_page(np.random.default_rng(0), split, 192)
    assert np.array_equal(made[0].pixels, again.pixels) and made[0].text == again.text
    assert len({page.pixels.tobytes() for page in made}) == len(made)
    for page in made:
        assert page.pixels.shape == (192, 192, 3) and page.pixels.dtype == np.uint8
        assert pages.SMALLEST <= page.font_size <= pages.LARGEST
        assert page.text


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("size", [48, 96])
def test_crops_are_deterministic_and_show_text(split: str, size: int) -> None:
    made = [render_crop(np.random.default_rng(seed), split, size) for seed in range(40)]
    assert np.array_equal(made[7], render_crop(np.random.default_rng(7), split, size))
    assert all(crop.shape == (size, size, 3) and crop.dtype == np.uint8 for crop in made)
    assert np.mean([np.ptp(crop) > 60 for crop in made]) > 0.9  # few fall between lines


def test_small_text_is_as_common_as_is_asked_for() -> None:
    def median(small_text: float) -> float:
        sizes = [pages._random_size(np.random.default_rng(i), small_text) for i in range(2_000)]
        assert min(sizes) >= pages.SMALLEST and max(sizes) <= pages.LARGEST
        return float(np.median(sizes))

    assert median(1.0) == pytest.approx(24, abs=1)  # halfway between 12 and 48, in octaves
    assert median(2.0) == pytest.approx(17, abs=1)
    assert median(0.5) > 30


@needs_fonts
def test_the_splits_share_no_font_and_no_paragraph() -> None:
    fonts = [{path.name for path in font_files(split)} for split in ("train", "test")]
    assert all(path.is_file() for split in ("train", "test") for path in font_files(split))
    assert not fonts[0] & fonts[1]


def test_both_splits_have_enough_prose_of_their_own() -> None:
    train, test = (paragraphs(split) for split in ("train", "test"))
    assert not set(train) & set(test)
    assert sum(map(len, test)) > 5_000 and sum(map(len, train)) > 20_000
    assert all(p.isascii() and "\n" not in p and "  " not in p for p in (*train, *test))


@needs_fonts
def test_the_words_of_a_test_page_are_those_of_its_split() -> None:
    page = render_page(np.random.default_rng(3), "test", 384, 16)
    prose = " ".join(paragraphs("test"))
    lines = page.text.split("\n")
    assert sum(line in prose for line in lines) > 0.6 * len(lines)  # others join two paragraphs
    assert not any(line in " ".join(paragraphs("train")) for line in lines if len(line) > 30)


@needs_fonts
def test_test_pages_are_dark_on_white_with_empty_margins() -> None:
    page = render_page(np.random.default_rng(1), "test", 384, 24)
    paper = int(page.pixels.max())
    assert paper >= 240 and page.pixels.min() < 40
    edge = np.concatenate([page.pixels[:8].ravel(), page.pixels[-8:].ravel()])
    assert (edge == paper).all()


def test_lines_stay_between_the_margins() -> None:
    """Also where they are justified: what is drawn beyond the page would not stand on it."""
    for seed in range(30):
        page = render_page(np.random.default_rng(seed), "train", 240, 16)
        border = np.concatenate(
            [page.pixels[:, :2].reshape(-1, 3), page.pixels[:, -2:].reshape(-1, 3)]
        )
        if len(np.unique(page.pixels[:3].reshape(-1, 3), axis=0)) == 1:  # on even paper
            assert len(np.unique(border, axis=0)) == 1


def test_a_page_too_small_for_a_word_is_empty() -> None:
    assert render_page(np.random.default_rng(0), "train", 12, 48).text == ""


def test_missing_fonts_are_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "SYSTEM_FONTS", tmp_path)
    with pytest.raises(UserError, match="fonts-liberation"):
        font_files.__wrapped__("test")
