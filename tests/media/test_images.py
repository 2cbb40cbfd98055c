"""Picture files come in upright, RGB, on white, or are refused in one sentence."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from quintet.config import UserError
from quintet.media.images import (
    MAX_BYTES,
    fit_image,
    fit_picture,
    middle,
    read_image,
    read_image_bytes,
    write_image,
)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(UserError) as raised:
        read_image_bytes(data)
    message = str(raised.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_every_format_is_read(kind: str) -> None:
    image = read_image_bytes(encoded(Image.new("RGB", (20, 10), (255, 0, 0)), kind))
    assert image.mode == "RGB"
    assert image.size == (20, 10)
    assert image.getpixel((5, 5)) == pytest.approx((255, 0, 0), abs=4)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp", ".bmp"])
def test_a_picture_is_written_as_its_name_says(suffix: str, tmp_path: Path) -> None:
    smooth = np.indices((40, 60)).transpose(1, 2, 0).sum(-1, keepdims=True)
    pixels = (smooth * [2, 1, 0] + 20).astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    write_image(path, pixels)
    with Image.open(path) as image:
        assert image.format == {".jpg": "JPEG"}.get(suffix, suffix[1:].upper())
        assert np.abs(np.asarray(image).astype(int) - pixels).max() <= 12
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_other_names_and_pictures_too_long_for_a_format_are_refused(tmp_path: Path) -> None:
    for name in ("a.gif", "a.tiff", "a.wav", "a", "png"):
        with pytest.raises(UserError, match=r"end it with one of \.png, \.jpg"):
            write_image(tmp_path / name, np.zeros((2, 2, 3), np.uint8))
    for name, length in (("a.webp", 16_384), ("a.jpg", 65_501)):
        with pytest.raises(UserError, match=r"at most \d+,\d+ on a side; write a .png"):
            write_image(tmp_path / name, np.zeros((1, length, 3), np.uint8))
        write_image(tmp_path / name, np.zeros((1, length - 1, 3), np.uint8))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.webp"]


def test_a_written_picture_is_read_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    write_image(tmp_path / "noise.png", pixels)
    assert np.array_equal(np.asarray(read_image(tmp_path / "noise.png")), pixels)
    assert [p.name for p in tmp_path.iterdir()] == ["noise.png"]


def test_transparency_becomes_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert read_image_bytes(encoded(clear, "PNG")).getpixel((1, 1)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0] * 256)
    data = encoded(palette, "PNG", transparency=0)
    assert read_image_bytes(data).getpixel((1, 1)) == (255, 255, 255)


def test_grey_in_16_bits_keeps_its_greys() -> None:
    ramp = np.linspace(0, 65_535, 256).astype(np.uint16).reshape(16, 16)
    image = np.asarray(read_image_bytes(encoded(Image.fromarray(ramp), "PNG")))
    assert np.array_equal(image[..., 0], ramp >> 8) and np.array_equal(image[..., 1], ramp >> 8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_huge_picture_is_shrunk_before_it_is_put_on_white(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A palette with transparency takes sixteen times its memory on white."""
    composed, whole = [], Image.alpha_composite

    def compose(one: Image.Image, other: Image.Image) -> Image.Image:
        composed.append(one.width * one.height)
        return whole(one, other)

    monkeypatch.setattr(Image, "alpha_composite", compose)
    palette = Image.new("P", (4_800, 3_600), 1)
    palette.putpalette([0, 0, 0, 200, 40, 0] + [0, 0, 255] * 254)
    palette.paste(0, (0, 0, 2_400, 3_600))  # the left half is transparent
    options = {} if kind == "JPEG" else {"transparency": 0}
    stored = palette.convert("RGB") if kind == "JPEG" else palette
    image = read_image_bytes(encoded(stored, kind, **options))
    assert image.size == ((1_600, 1_200) if kind != "JPEG" else (2_400, 1_800))
    assert max(composed, default=0) < 1_000_000
    left = (0, 0, 0) if kind == "JPEG" else (255, 255, 255)
    for across, colour in ((0.1, left), (0.4, left), (0.6, (200, 40, 0)), (0.9, (200, 40, 0))):
        for down in (0, 0.5, 0.999):
            place = (int(across * image.width), int(down * image.height))
            assert image.getpixel(place) == pytest.approx(colour, abs=4)


def test_a_caller_may_allow_fewer_pixels() -> None:
    data = encoded(Image.new("RGB", (200, 100)), "PNG")
    assert read_image_bytes(data, max_pixels=20_000).size == (200, 100)
    with pytest.raises(UserError, match=r"0\.019 million"):
        read_image_bytes(data, max_pixels=19_000)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_rotated_photograph_stands_upright(turn: int) -> None:
    image = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = turn  # from 5 on, the camera was turned by a quarter
    upright = read_image_bytes(encoded(image, "JPEG", exif=exif))
    assert upright.size == upright.info["full_size"] == ((20, 10) if turn < 5 else (10, 20))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_size_before_shrinking_is_known(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    data = encoded(Image.new("RGB", (4_001, 900)), kind, exif=exif)
    image = read_image_bytes(data)
    assert image.size == (450, 2_001) and image.info["full_size"] == (900, 4_001)


@pytest.mark.parametrize("side", [8_000, 30_000])
def test_huge_pictures_are_refused_before_decoding(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image.size))

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))
    assert "50 million pixels" in refusal(data)
    assert not decoded


def test_other_refusals() -> None:
    for kind in ("PNG", "JPEG"):
        whole = encoded(Image.effect_noise((64, 64), 50), kind)
        assert "is damaged, or no picture; use PNG, JPEG" in refusal(whole[: len(whole) // 2])
    assert "no picture" in refusal(b"")
    assert "no picture" in refusal(b"hello")
    assert "no picture" in refusal(encoded(Image.new("RGB", (4, 4)), "TIFF"))
    assert "20 MB" in refusal(bytes(MAX_BYTES + 1))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="check the name"):
        read_image(tmp_path / "missing.png")


@pytest.mark.parametrize("size", [(200, 100), (10, 30), (1, 500), (48, 48)])
def test_the_whole_picture_fits_centred_on_white(size: tuple[int, int]) -> None:
    fitted = fit_image(Image.new("RGB", size, (0, 0, 0)), 48)
    assert fitted.shape == (48, 48, 3)
    assert fitted.dtype == np.uint8
    rows, columns = np.nonzero(fitted[..., 0] < 128)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 48
    for where in (rows, columns):  # as much white before as after
        assert abs((where.min()) - (47 - where.max())) <= 1


@pytest.mark.parametrize(
    "size, fitted, filled",
    [
        ((200, 100), (48, 24), (48, 24)),
        ((10, 31), (10, 31), (12, 36)),  # never enlarged
        ((1, 1), (1, 1), (6, 6)),
        ((1, 500), (1, 48), (6, 48)),
        ((97, 61), (48, 30), (48, 30)),
        ((48, 48), (48, 48), (48, 48)),
    ],
)
def test_a_picture_keeps_its_shape_and_its_edges_go_on(
    size: tuple[int, int], fitted: tuple[int, int], filled: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    pixels, (height, width) = fit_picture(Image.fromarray(noise), 48, 6)
    assert pixels.dtype == np.uint8 and pixels.shape == (*filled[::-1], 3)
    assert (width, height) == fitted
    if size == fitted:
        assert np.array_equal(middle(pixels, height, width), noise)
    top, left = (filled[1] - height) // 2, (filled[0] - width) // 2  # the middle, to a pixel
    rows = np.clip(np.arange(filled[1]) - top, 0, height - 1)
    columns = np.clip(np.arange(filled[0]) - left, 0, width - 1)
    assert np.array_equal(pixels, middle(pixels, height, width)[rows][:, columns])


def test_a_caller_may_want_more_pixels_of_a_huge_picture() -> None:
    for kind in ("PNG", "JPEG"):
        data = encoded(Image.new("RGB", (4_000, 100)), kind)
        assert read_image_bytes(data).size == (2_000, 50)
        assert read_image_bytes(data, longest=3_000).size == (4_000, 100)
