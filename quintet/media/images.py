"""Picture files to arrays and back: whatever the file holds becomes upright RGB on white."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from quintet.config import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000  # judged by the header, before anything is decoded
LONGEST_SIDE = 1_536  # beyond twice this, a picture is shrunk as it is read: models see 48 to 768
BAND_ROWS = 64  # of the result, made at once
WHITE = (255, 255, 255)


def read_image(path: Path | str, longest: int = LONGEST_SIDE) -> Image.Image:
    """The picture of a file, RGB, rotated upright; transparency becomes white.

    Of an animation, the first frame. A picture of twice `longest` or more comes back smaller, by
    a whole factor, but no smaller than `longest` on its longer side.

    Raises:
        UserError: the file is missing, too large, broken, or not of one of `FORMATS`.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no picture {path}; check the name.")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check its permissions."
        ) from None
    return read_image_bytes(data, str(path), longest=longest)


def read_image_bytes(
    data: bytes,
    name: str = "The picture",
    max_pixels: int = MAX_PIXELS,
    longest: int = LONGEST_SIDE,
) -> Image.Image:
    """The same for a file's content; `name` is what messages call it.

    Raises:
        UserError: as `read_image`, or the picture has more than `max_pixels`.
    """
    if len(data) > MAX_BYTES:
        raise UserError(
            f"{name} has more than {MAX_BYTES // 1_000_000} MB; make it smaller and try again."
        )
    # Pillow has a limit of its own, far above ours: its warning would only be noise.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image, name, max_pixels)
                image.draft(None, (longest, longest))  # a JPEG is decoded smaller
                ImageOps.exif_transpose(image, in_place=True)
                return _shrunk(image, longest)
        except UserError:
            raise
        except Image.DecompressionBombError:
            raise _too_many_pixels(name, max_pixels) from None
        except Exception:
            raise UserError(
                f"{name} is not a picture that can be read; use {', '.join(FORMATS)}."
            ) from None


def fit_image(image: Image.Image, size: int) -> np.ndarray:
    """The whole picture, centred on a white square: uint8 [size, size, 3].

    The longer side becomes `size`; shrinking averages pixels (BOX) beyond a factor of two and
    is LANCZOS otherwise, as is growing.
    """
    return _centred(_scaled(image, size / max(image.size)), size, size)


def fit_picture(
    image: Image.Image, longest: int, multiple: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """The whole picture, no side above `longest`, centred on the smallest white rectangle whose
    sides are multiples of `multiple`: uint8 [H, W, 3], and the height and width of the picture
    itself, which `middle` cuts out again.

    It is shrunk as by `fit_image`; a picture that is small enough keeps its pixels.
    """
    fitted = _scaled(image, min(1.0, longest / max(image.size)))
    width, height = fitted.size
    filled = _centred(fitted, -(-width // multiple) * multiple, -(-height // multiple) * multiple)
    return filled, (height, width)


def middle(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """[height, width, 3] at the place where `fit_picture` puts a picture of this size."""
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    image = image.convert("RGB")
    if scale == 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    rule = Image.Resampling.BOX if scale < 0.5 else Image.Resampling.LANCZOS
    return image.resize((width, height), rule)


def _centred(image: Image.Image, width: int, height: int) -> np.ndarray:
    filled = Image.new("RGB", (width, height), WHITE)
    filled.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return np.asarray(filled)


def write_image(path: Path | str, pixels: np.ndarray) -> None:
    """Write uint8 [H, W, 3] as a PNG; the file appears whole or not at all."""
    path = Path(path)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            Image.fromarray(pixels).save(file, format="PNG")
        os.chmod(partial, 0o644)  # a temporary file is private, the result need not be
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(name, max_pixels)
    if not image.width * image.height:
        raise UserError(f"{name} has no pixels; give another picture.")


def _too_many_pixels(name: str, max_pixels: int) -> UserError:
    return UserError(
        f"{name} has more than {max_pixels / 1_000_000:g} million pixels; make it smaller and "
        "try again."
    )


def _shrunk(image: Image.Image, longest: int) -> Image.Image:
    """`image` on white, RGB, its longer side below twice `longest`.

    Band by band: a palette with transparency takes one byte a pixel in the file's memory, and
    sixteen while it is put on white.
    """
    factor = max(1, max(image.size) // longest)
    width, height = (-(-side // factor) for side in image.size)
    shrunk = Image.new("RGB", (width, height))
    for top in range(0, height, BAND_ROWS):
        bottom = min((top + BAND_ROWS) * factor, image.height)
        band = on_white(image.crop((0, top * factor, image.width, bottom)))
        shrunk.paste(band.reduce(factor), (0, top))
    return shrunk


def on_white(image: Image.Image) -> Image.Image:
    """`image` as RGB, whatever its mode; what is transparent becomes white."""
    if image.mode.startswith("I"):  # grey in 16 bits, which `convert` would clip, not scale
        values = np.asarray(image)
        grey = (values >> 8).clip(0, 255).astype(np.uint8)
        if (clear := image.info.get("transparency")) is not None:
            grey[values == clear] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    white = Image.new("RGBA", seen.size, (*WHITE, 255))
    return Image.alpha_composite(white, seen).convert("RGB")
