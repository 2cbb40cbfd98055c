"""Picture files to arrays and back: whatever the file holds becomes upright RGB on white."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from quintet.config import UserError
from quintet.whole_file import whole_file

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
WRITTEN = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
LONGEST_WRITTEN = {"JPEG": 65_500, "WEBP": 16_383}  # pixels on a side; the others have no limit
QUALITY = 95  # of 100, of what is written as JPEG or WebP
QUARTER_TURNS = range(5, 9)  # of the orientations that a camera notes
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000  # judged by the header, before anything is decoded
LONGEST_SIDE = 1_536  # beyond twice this, a picture is shrunk as it is read: models see 48 to 768
BAND_ROWS = 64  # of the result, made at once
WHITE = (255, 255, 255)


def read_image(path: Path | str, longest: int = LONGEST_SIDE) -> Image.Image:
    """The picture of a file, RGB, rotated upright; transparency becomes white.

    Of an animation, the first frame. A picture of twice `longest` or more comes back smaller, by
    a whole factor, but no smaller than `longest` on its longer side; what its width and height
    were before is `info["full_size"]`.

    Raises:
        UserError: the file is missing, too large, broken, or not of one of `FORMATS`.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a picture, such as {path / 'cat.png'}.")
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
                full_size = image.size
                image.draft(None, (longest, longest))  # a JPEG is decoded smaller
                if image.getexif().get(ExifTags.Base.Orientation, 1) in QUARTER_TURNS:
                    full_size = full_size[::-1]
                ImageOps.exif_transpose(image, in_place=True)
                shrunk = _shrunk(image, longest)
                shrunk.info["full_size"] = full_size
                return shrunk
        except UserError:
            raise
        except Image.DecompressionBombError:
            raise _too_many_pixels(name, max_pixels) from None
        except Exception:
            raise UserError(
                f"{name} is damaged, or no picture; use {', '.join(FORMATS)}."
            ) from None


def fit_image(image: Image.Image, size: int) -> np.ndarray:
    """The whole picture, centred on a white square: uint8 [size, size, 3].

    The longer side becomes `size`; shrinking averages pixels (BOX) beyond a factor of two and
    is LANCZOS otherwise, as is growing.
    """
    scaled, filled = _scaled(image, size / max(image.size)), Image.new("RGB", (size, size), WHITE)
    filled.paste(scaled, ((size - scaled.width) // 2, (size - scaled.height) // 2))
    return np.asarray(filled)


def fit_picture(
    image: Image.Image, longest: int, multiple: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """The whole picture, no side above `longest`, in the middle of the smallest rectangle whose
    sides are multiples of `multiple`: uint8 [H, W, 3], and the height and width of the picture
    itself, which `middle` cuts out again.

    It is shrunk as by `fit_image`; a picture that is small enough keeps its pixels. Around it,
    its outermost pixels are repeated: another colour would cost the few that share its tokens.
    """
    fitted = np.asarray(_scaled(image, min(1.0, longest / max(image.size))))
    height, width = fitted.shape[:2]
    spare = (-height % multiple, -width % multiple)
    around = [(pixels // 2, pixels - pixels // 2) for pixels in spare]
    return np.pad(fitted, (*around, (0, 0)), mode="edge"), (height, width)


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


def write_image(path: Path | str, pixels: np.ndarray) -> None:
    """Write uint8 [H, W, 3] in the format that the name ends in; the file appears whole or not at
    all.

    Raises:
        UserError: as `written_format`, or the picture is too long for the format.
    """
    path = Path(path)
    name, (height, width) = written_format(path), pixels.shape[:2]
    if max(height, width) > LONGEST_WRITTEN.get(name, max(height, width)):
        raise UserError(
            f"{path} has {width:,} x {height:,} pixels and {name} files have at most "
            f"{LONGEST_WRITTEN[name]:,} on a side; write a .png."
        )
    with whole_file(path) as file:
        Image.fromarray(pixels).save(file, format=name, quality=QUALITY)


def written_format(path: Path) -> str:
    """The one of `FORMATS` in which a file of this name is written.

    Raises:
        UserError: its name ends otherwise.
    """
    if path.suffix.lower() not in WRITTEN:
        raise UserError(
            f"{path} is no name for a picture; end it with one of {', '.join(WRITTEN)}."
        )
    return WRITTEN[path.suffix.lower()]


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
