"""Pictures to tokens and back: whatever the file holds, at its size, or one sentence."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config, run
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from quintet.commands import picture_tokens
from quintet.commands.picture_tokens import fingerprint
from quintet.media.images import fit_picture, middle, read_image
from quintet.tokenizers.image import ImageTokenizer
from quintet.tokenizers.image_folder import load_image_tokenizer, save_image_tokenizer


def _save_random(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_image_tokenizer(ImageTokenizer(make_config().image), folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing but an image tokenizer: 12 pixels, patches of 6, 16 codes."""
    return _save_random(tmp_path_factory.mktemp("tokenizers") / "pictures", 0)


def _noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    bands = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return (
        Image.fromarray(bands, "RGBA").convert(mode) if mode != "RGBA" else Image.fromarray(bands)
    )


def _encoded(path: Path, folder: Path, *options: object) -> tuple[np.ndarray, dict[str, str]]:
    assert run("encode", path, "--model", folder, *options) == 0
    with safe_open(f"{path}.safetensors", "numpy") as file:
        return file.get_tensor("tokens"), file.metadata()


def _noise_encoded(folder: Path, model: Path, width: int, height: int, *options: object) -> Path:
    """The picture whose tokens are now beside it."""
    path = folder / "a.png"
    _noise(width, height).save(path)
    _encoded(path, model, *options)
    return path


def _decoded(path: Path, folder: Path, *options: object) -> np.ndarray:
    assert run("decode", f"{path}.safetensors", "--model", folder, *options) == 0
    return np.asarray(Image.open(f"{path}.decoded.png"))


def _palette(path: Path) -> None:
    image = _noise(20, 9).quantize(8)
    image.save(path, transparency=0)


def _deep_grey(path: Path) -> None:
    Image.fromarray(np.arange(180, dtype=np.uint16).reshape(9, 20) * 364).save(path)


def _rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    _noise(9, 20).save(path, exif=exif)


def _animation(path: Path) -> None:
    first, second = _noise(20, 9), Image.new("RGB", (20, 9), "red")
    first.save(path, save_all=True, append_images=[second])


KINDS = {
    "rgb.png": lambda path: _noise(20, 9).save(path),
    "rgba.png": lambda path: _noise(20, 9, "RGBA").save(path),
    "grey.png": lambda path: _noise(20, 9, "L").save(path),
    "palette.png": _palette,
    "deep.png": _deep_grey,
    "rotated.jpg": _rotated,
    "cmyk.jpg": lambda path: _noise(20, 9, "CMYK").save(path),
    "moving.gif": _animation,
    "lossy.webp": lambda path: _noise(20, 9).save(path),
    "plain.bmp": lambda path: _noise(20, 9).save(path),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_there_and_back(
    name: str, tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, tokenizer = tmp_path / name, load_image_tokenizer(tokenizer_folder)
    KINDS[name](path)
    codes_RG, metadata = _encoded(path, tokenizer_folder)
    said = capsys.readouterr().out
    told = (
        r": 20 x 9 pixels shrunk to 12 x 5 \(--size for more\) in 2 codes, 0\.13 bits a pixel; "
        r"beside the shrunk picture PSNR \d+\.\d dB\n"
    )
    assert re.search(told, said), said
    assert (metadata["width"], metadata["height"]) == ("12", "5")
    pixels, size = fit_picture(read_image(path), 12, 6)
    real_BCHW = torch.tensor(pixels).permute(2, 0, 1)[None] / 255
    ids_BRG = tokenizer.encode(real_BCHW)
    assert codes_RG.dtype == np.uint8 and np.array_equal(codes_RG, ids_BRG[0].numpy())
    made = (tokenizer.decode(ids_BRG)[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert np.array_equal(_decoded(path, tokenizer_folder), middle(made, *size))


def test_the_header_says_what_another_program_needs(tokenizer_folder: Path, tmp_path: Path) -> None:
    _noise(31, 20).save(tmp_path / "a.png")
    codes, metadata = _encoded(tmp_path / "a.png", tokenizer_folder, "--size", 30)
    assert codes.shape == (4, 5)
    assert metadata == {
        "format_version": "1", "medium": "picture", "model": str(tokenizer_folder),
        "width": "30", "height": "19", "patch": "6", "codebook_size": "16",
        "tokenizer": fingerprint(load_image_tokenizer(tokenizer_folder)),
        "bits_per_pixel": f"{20 * 4 / 570:.10g}",
    }  # fmt: skip


@pytest.mark.parametrize(
    "size, asked, fitted",
    [
        ((1, 1), None, (1, 1)),  # small ones are never enlarged
        ((7, 3), 48, (7, 3)),
        ((12, 12), None, (12, 12)),
        ((1, 10_000), None, (1, 12)),
        ((10_000, 1), 100, (100, 1)),
        ((90, 60), 48, (48, 32)),
        ((60, 90), 5, (3, 5)),
        ((4_000, 20), 3_000, (3_000, 15)),  # wider than what models are shown
    ],
)
def test_every_size_there_and_back(
    size: tuple[int, int], asked: int | None, fitted: tuple[int, int], tokenizer_folder: Path,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "a.png"
    _noise(*size).save(path)
    options = () if asked is None else ("--size", asked)
    codes, _ = _encoded(path, tokenizer_folder, *options)
    assert codes.shape == (-(-fitted[1] // 6), -(-fitted[0] // 6))
    told, was = capsys.readouterr().out, f"{size[0]:,} x {size[1]:,} pixel"
    if size == fitted:
        assert f": {was}" in told and "shrunk" not in told
    else:
        assert f": {was}s shrunk to {fitted[0]:,} x {fitted[1]:,} " in told
    assert ("(--size for more)" in told) == (size != fitted and asked is None)
    assert _decoded(path, tokenizer_folder).shape == (fitted[1], fitted[0], 3)


def test_one_of_a_thing_is_told_as_one(
    tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _noise_encoded(tmp_path, tokenizer_folder, 1, 1)
    assert ": 1 x 1 pixel in 1 code, 4.00 bits" in capsys.readouterr().out
    _decoded(path, tokenizer_folder)
    assert capsys.readouterr().out.endswith(": picture from 1 token\n")


def test_a_pixel_is_not_lost_among_what_fills_its_token(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (1, 1), (120, 60, 30)).save(path)
    _encoded(path, Path("pictures-65k"))
    made = _decoded(path, Path("pictures-65k"))
    assert made.shape == (1, 1, 3) and np.abs(made.astype(int) - (120, 60, 30)).max() < 40


def test_a_picture_is_decoded_to_what_its_name_says(
    tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _noise_encoded(tmp_path, tokenizer_folder, 12, 12)
    tokens = f"{path}.safetensors"
    for name, kind in (("b.jpg", "JPEG"), ("b.webp", "WEBP"), ("b.bmp", "BMP"), ("b.PNG", "PNG")):
        out = tmp_path / name
        assert run("decode", tokens, "--out", out, "--model", tokenizer_folder) == 0
        with Image.open(out) as image:
            assert (image.format, image.size) == (kind, (12, 12))
    for name in ("b.gif", "b.mp3", "b"):
        command = ("decode", tokens, "--out", tmp_path / name, "--model", tokenizer_folder)
        assert "end it with one of .png, .jpg" in _told(capsys, *command)
        assert not (tmp_path / name).exists()


def test_a_picture_large_enough_is_compared_by_structure(
    tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _noise_encoded(tmp_path, tokenizer_folder, 12, 12)
    assert re.search(r"PSNR \d+\.\d dB, SSIM -?0\.\d{3}\n", capsys.readouterr().out)


def test_the_first_tokens_show_the_beginning(tokenizer_folder: Path, tmp_path: Path) -> None:
    path = _noise_encoded(tmp_path, tokenizer_folder, 12, 18, "--size", 18)
    whole = _decoded(path, tokenizer_folder)
    assert np.array_equal(_decoded(path, tokenizer_folder, "--tokens", 6), whole)
    begun = _decoded(path, tokenizer_folder, "--tokens", 3)
    assert (begun[12:] == 255).all() and (begun[6:12, 6:] == 255).all()
    assert not (begun[:6] == 255).all() and not (begun[6:12, :6] == 255).all()
    assert run("decode", f"{path}.safetensors", "--model", tokenizer_folder, "--tokens", 7) == 2


def test_pictures_need_no_transformer(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintet.commands.tokens.load", None)
    _noise_encoded(tmp_path, model_folder, 12, 12)
    assert _decoded(tmp_path / "a.png", model_folder).shape == (12, 12, 3)


def _told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].endswith("."), lines
    return lines[0]


def _header_only(path: Path) -> None:
    """A PNG of 70 bytes that claims 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_pictures_that_cannot_be_encoded(
    tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path, out = tmp_path / "a.png", tmp_path / "out.safetensors"
    command = ("encode", path, "--out", out, "--model", tokenizer_folder)
    assert "check the name" in _told(capsys, *command)
    _noise(64, 64).save(path)
    path.write_bytes(path.read_bytes()[:2_000])
    assert "damaged, or no picture" in _told(capsys, *command)
    path.write_text("hello")
    assert "damaged, or no picture" in _told(capsys, *command)
    _header_only(path)
    assert "50 million pixels" in _told(capsys, *command)
    _noise(64, 64).save(path)
    assert "--codebooks" in _told(capsys, *command, "--codebooks", 1)
    monkeypatch.setattr(picture_tokens, "MAX_TOKENS", 99)
    assert "100 tokens" in _told(capsys, *command, "--size", 60)
    assert not out.exists()
    (tmp_path / "a.txt").write_text("hello")
    text = ("encode", tmp_path / "a.txt", "--size", 12, "--model", tokenizer_folder)
    assert "--size" in _told(capsys, *text)


GOOD = {"format_version": "1", "medium": "picture", "width": "17", "height": "7", "patch": "6",
        "codebook_size": "16"}  # fmt: skip
CODES = np.zeros((2, 3), np.uint8)
BAD_FILES: list[tuple[np.ndarray, dict[str, str], str]] = [
    (CODES + 16, {}, "another model"),
    (CODES.astype(np.int64) - 1, {}, "another model"),
    (CODES.astype(np.uint64) + np.uint64(2**63), {}, "another model"),
    (CODES.astype(np.float32), {}, "another model"),
    (CODES[None], {}, "another model"),
    (CODES[:, :0], {}, "no picture"),
    (CODES.T.copy(), {}, "height is '7'"),
    (CODES, {"width": "12"}, "width is '12'"),
    (CODES, {"width": "19"}, "width is '19'"),
    (CODES, {"width": "-3"}, "width is '-3'"),
    (CODES, {"width": "9" * 4_000}, "width is"),
    (CODES, {"height": "1e1"}, "height is '1e1'"),
    (CODES, {"height": ""}, "height is ''"),
    (CODES, {"patch": "8"}, "another model"),
    (CODES, {"codebook_size": "1024"}, "another model"),
    (CODES, {"tokenizer": "0123456789abcdef"}, "another model"),
    (CODES, {"format_version": "2"}, "format version"),
    (CODES, {"medium": "dance"}, "does not say"),
    (np.zeros((1_001, 1_000), np.uint8), {"width": "6000", "height": "6006"}, "1,000,000 tokens"),
]


@pytest.mark.parametrize("tokens, changes, told", BAD_FILES)
def test_files_that_cannot_be_decoded(
    tokens: np.ndarray, changes: dict[str, str], told: str, tokenizer_folder: Path,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, out = tmp_path / "a.safetensors", tmp_path / "a.out.png"
    save_file({"tokens": np.ascontiguousarray(tokens)}, path, metadata={**GOOD, **changes})
    command = ("decode", path, "--out", out, "--model", tokenizer_folder)
    assert told in _told(capsys, *command)
    assert not out.exists()


def test_a_header_that_lacks_a_size_or_its_version_is_refused(
    tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.safetensors"
    for lacking, told in (("width", "width is ''"), ("format_version", "it has no format_version")):
        save_file({"tokens": CODES}, path, metadata={k: v for k, v in GOOD.items() if k != lacking})
        assert told in _told(capsys, "decode", path, "--model", tokenizer_folder)


def test_tokens_of_a_tokenizer_of_the_same_sizes_are_refused(
    tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, path = _save_random(tmp_path / "other", 9), tmp_path / "a.png"
    _noise(12, 12).save(path)
    _encoded(path, tokenizer_folder)
    tokens = f"{path}.safetensors"
    assert "another model" in _told(capsys, "decode", tokens, "--model", other)
    assert run("decode", tokens, "--model", tokenizer_folder) == 0


def test_only_pictures_have_a_beginning(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("hello")
    assert run("encode", tmp_path / "a.txt", "--model", model_folder) == 0
    tokens = tmp_path / "a.txt.safetensors"
    command = ("decode", tokens, "--tokens", 2, "--model", model_folder)
    assert "--tokens" in _told(capsys, *command)
