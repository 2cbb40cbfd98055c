"""The image tokenizer's quality benchmark: its scores, its peers and its rows; no figure of a
model is asserted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("skimage", reason="the extra pictures is not installed")

from benchmarks import image_quality, picture_scores
from benchmarks.picture_scores import edit_distance, error_rate, psnr, read_page, squeeze, ssim
from quintet.config import ImageConfig, UserError
from quintet.data.pages import font_files, render_page
from quintet.tokenizers.image import ImageTokenizer
from tests.conftest import needs_world


def _no_fonts() -> bool:
    try:
        font_files("test")
    except UserError:
        return True
    return False


needs_fonts = pytest.mark.skipif(_no_fonts(), reason="fonts-liberation is not installed")
needs_tesseract = pytest.mark.skipif(
    not picture_scores.tesseract_is_here(), reason="tesseract-ocr is not installed"
)


@pytest.fixture(autouse=True)
def one_thread() -> object:
    """The benchmark's threads do not reach another test."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def noise(seed: int, size: int = 96) -> np.ndarray:
    """Coarse noise, as hard to compress as a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size // 4, size // 4, 3))
    image = Image.fromarray(coarse.astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ("", "", 0), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("kitten", "sitting", 3),
        ("flaw", "lawn", 2), ("intention", "execution", 5), ("ab", "ba", 2), ("é", "e", 1),
    ],
)  # fmt: skip
def test_the_edit_distance_of_known_cases(first: str, second: str, distance: int) -> None:
    assert edit_distance(first, second) == edit_distance(second, first) == distance


def test_the_error_rate_counts_any_white_space_as_one() -> None:
    assert error_rate("two words", " two\n\n  words\n") == 0
    assert error_rate("abcd", "abxd") == 0.25
    assert error_rate("abcd", "") == 1


def test_equal_pictures_have_the_best_scores_and_worse_ones_worse() -> None:
    picture = noise(0)
    shift = np.clip(picture.astype(int) + 10, 0, 255).astype(np.uint8)
    assert ssim(picture, picture) == pytest.approx(1)
    assert psnr(picture, picture) > 70
    grey = np.full((20, 20, 3), 100, np.uint8)
    assert psnr(grey, grey + 10) == pytest.approx(20 * np.log10(255 / 10))
    assert ssim(picture, noise(1)) < ssim(picture, shift) < 1


@pytest.mark.parametrize("kind", picture_scores.FORMATS)
@pytest.mark.parametrize("budget", [600, 1_500, 6_000])
def test_the_budget_of_bytes_is_kept_and_used(kind: str, budget: int) -> None:
    picture = noise(0, 240)[:, :180]
    squeezed = squeeze(picture, kind, budget)
    assert squeezed is not None
    assert squeezed.pixels.shape == picture.shape
    assert 0.5 * budget < squeezed.num_bytes <= budget


@pytest.mark.parametrize("kind", picture_scores.FORMATS)
def test_a_picture_is_shrunk_where_that_is_better_or_else_too_large(kind: str) -> None:
    picture = noise(0)
    lowest = len(picture_scores._encoded(Image.fromarray(picture), kind, 1))
    tight = squeeze(picture, kind, lowest - 50)
    assert tight is not None and tight.shrunk < 1 and tight.num_bytes <= lowest - 50
    for budget in (lowest + 50, 4 * lowest, 100 * lowest):
        best = squeeze(picture, kind, budget)
        data = picture_scores._best(Image.fromarray(picture), kind, budget)
        assert best is not None and data is not None and best.num_bytes <= budget
        whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert picture_scores.psnr(picture, best.pixels) >= picture_scores.psnr(picture, whole)
    assert best.shrunk == 1


def test_a_budget_below_the_headers_is_given_up() -> None:
    assert squeeze(noise(0), "JPEG", 100) is None


@needs_fonts
@needs_tesseract
def test_the_text_of_a_page_stands_on_it() -> None:
    page = render_page(np.random.default_rng(0), "test", 480, 24)
    assert error_rate(page.text, read_page(page.pixels)) < 0.02


@needs_tesseract
def test_a_page_without_text_reads_as_nothing() -> None:
    assert read_page(np.full((96, 96, 3), 255, np.uint8)).strip() == ""


@needs_fonts
def test_only_font_sizes_that_fit_are_judged() -> None:
    assert [s.name for s in image_quality.page_sets(72, 6)] == ["pages 12 px", "pages 16 px"]
    assert {s.pictures[0].shape for s in image_quality.page_sets(72, 6)} == {(72, 72, 3)}


def test_photographs_are_cut_to_whole_patches_and_never_enlarged() -> None:
    for picture in image_quality.photograph_set(768, 6).pictures:
        assert picture.shape[0] % 6 == 0 and picture.shape[1] % 6 == 0
        assert max(picture.shape) <= 642
    for picture in image_quality.photograph_set(96, 6).pictures:
        assert 90 <= max(picture.shape) <= 96


@needs_world
@needs_fonts
@pytest.mark.parametrize("with_reader", [True, False])
def test_the_benchmark_scores_every_set(
    with_reader: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With an untrained tokenizer, and a reader that always reads the same."""
    torch.manual_seed(0)
    config = ImageConfig(
        size=96, channels=8, channel_multipliers=(1, 1, 2), latent_dim=4, codebook_size=2**16
    )
    tokenizer = ImageTokenizer(config).eval()
    monkeypatch.setattr(image_quality, "load_image_tokenizer", lambda name: tokenizer)
    monkeypatch.setattr(image_quality, "MORE_PAGES", 2)
    monkeypatch.setattr(image_quality, "NUM_THINGS", 2)
    monkeypatch.setattr(picture_scores, "tesseract_is_here", lambda: with_reader)
    monkeypatch.setattr(picture_scores, "read_page", lambda pixels: "a few words")
    rows = image_quality.run(str(Path("somewhere")))
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    for set_name in ("pages 12 px", "pages 24 px", "things", "photographs"):
        assert any(name.startswith(f"{set_name}, ours (") for name in names)
        assert any(name.startswith(f"{set_name}, WebP (") for name in names)
    assert any(name.endswith("CER") for name in names) == with_reader
    assert any(name.startswith("pages 12 px, original") for name in names) == with_reader
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    rates = {row["value"] for row in rows if row["unit"] == "bit/px"}
    assert all(rate == pytest.approx(16 / 36, rel=0.01) for rate in rates)
    printed = " ".join(capsys.readouterr().out.split())
    assert ("tesseract is not installed" in printed) != with_reader
