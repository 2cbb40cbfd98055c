"""Picture files to a grid of codes and back.

Only the image tokenizer is loaded. A picture is made upright and put on white; if it is larger
than the tokenizer's size (or another that is asked for), it is shrunk so that its longer side has
that; a smaller one is never enlarged, which would cost codes and show nothing more. Then its
outermost pixels are repeated until whole tokens are full, and `decode` cuts that away again.

Shapes: R rows and G columns of tokens, H and W pixels.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import torch

from quintet.commands.token_header import (
    FORMAT_VERSION,
    Header,
    foreign,
    smallest_type,
)
from quintet.config import ImageConfig, UserError, counted
from quintet.media.images import (
    LONGEST_SIDE,
    MAX_PIXELS,
    fit_picture,
    middle,
    read_image,
    write_image,
    written_format,
)
from quintet.tokenizers.image import ImageTokenizer, to_images, to_pixels
from quintet.tokenizers.image_folder import load_image_tokenizer
from quintet.train.structure import WINDOW, psnr, structural_similarity

# Of a picture, and of the pixels that they stand for; fewer tokens where the tokenizer cannot take
# it in tiles, and needs 0.9 KB a pixel (at nano's widths).
MAX_TOKENS, MAX_TOKENS_AT_ONCE = 1_000_000, 65_536


def encode_picture(
    path: Path, model: str, size: int | None = None
) -> tuple[np.ndarray, dict[str, str], str]:
    """Codes [R, G] in the smallest type that holds them, their metadata, and a line that says
    what they cost and keep.

    Args:
        size: of the longer side at most, in pixels; None is the tokenizer's own.

    Raises:
        UserError: the file cannot be read, there is no such tokenizer, or the picture has too
            many tokens.
    """
    tokenizer = load_image_tokenizer(model)
    config, longest = tokenizer.config, size or tokenizer.config.size
    image = read_image(path, max(longest, LONGEST_SIDE))
    filled_HW3, (height, width) = fit_picture(image, longest, config.patch)
    count = filled_HW3.shape[0] * filled_HW3.shape[1] // config.patch**2
    if count > _most_tokens(config):
        raise UserError(
            f"{path} has {count:,} tokens at this size and {_most_tokens(config):,} are the most; "
            "encode it smaller with --size."
        )
    ids_1RG = tokenizer.encode(to_images(filled_HW3[None]))
    made = middle(to_pixels(tokenizer.decode(ids_1RG))[0], height, width)
    bits = count * math.log2(config.codebook_size) / (height * width)
    size_told, beside = _size_told(image.info["full_size"], (width, height), size is None)
    note = (
        f"{size_told} in {counted(count, 'code')}, {bits:.2f} bits a pixel; "
        f"{beside}{_quality(made, middle(filled_HW3, height, width))}"
    )
    codes_RG = ids_1RG[0].numpy().astype(smallest_type(config.codebook_size))
    return codes_RG, _metadata(tokenizer, height, width, bits), note


def _size_told(full: tuple[int, int], kept: tuple[int, int], by_model: bool) -> tuple[str, str]:
    """What became of width and height, in words; and what the quality is judged beside, where
    that is not the picture as it lies in the file.

    Args:
        by_model: whether it was the tokenizer's size that decided.
    """
    sides = f"{kept[0]:,} x {kept[1]:,}"
    if kept == full:
        return f"{sides} {'pixel' if kept == (1, 1) else 'pixels'}", ""
    more = " (--size for more)" if by_model else ""
    shrunk = f"{full[0]:,} x {full[1]:,} pixels shrunk to {sides}{more}"
    return shrunk, "beside the shrunk picture "


def _most_tokens(config: ImageConfig) -> int:
    most = MAX_TOKENS if config.normalization == "pixel" else MAX_TOKENS_AT_ONCE
    return min(most, MAX_PIXELS // config.patch**2)


def _metadata(tokenizer: ImageTokenizer, height: int, width: int, bits: float) -> dict[str, str]:
    return {
        "format_version": FORMAT_VERSION,
        "medium": "picture",
        "width": str(width),  # without what fills the last tokens
        "height": str(height),
        "patch": str(tokenizer.config.patch),
        "tokenizer": fingerprint(tokenizer),
        "codebook_size": str(tokenizer.config.codebook_size),
        "bits_per_pixel": f"{bits:.10g}",
    }


def fingerprint(tokenizer: ImageTokenizer) -> str:
    """Tells tokenizers of the same sizes apart: a hash of the codebook, as it lies in files."""
    return hashlib.sha256(tokenizer.quantizer.codebook.half().numpy().tobytes()).hexdigest()[:16]


def _quality(made: np.ndarray, real: np.ndarray) -> str:
    """How near uint8 [H, W, 3] comes to another, in words."""
    made_1CHW, real_1CHW = to_images(made[None]), to_images(real[None])
    decibels = f"PSNR {float(psnr(made_1CHW, real_1CHW)):.1f} dB"
    if min(made.shape[:2]) < WINDOW:  # it has no structure to compare
        return decibels
    return f"{decibels}, SSIM {float(structural_similarity(made_1CHW, real_1CHW)):.3f}"


def decode_picture(
    tokens: np.ndarray,
    metadata: dict[str, str],
    path: Path,
    out: Path,
    model: str,
    first: int | None = None,
) -> None:
    """Write the picture that the tokens of the file `path` give, in the format that the name of
    `out` ends in; it appears whole or not at all.

    Args:
        first: show only what so many tokens, row by row, give, and white elsewhere; None is all.

    Raises:
        UserError: the tokens or what the metadata says of them do not fit the tokenizer, or each
            other, or are too many or fewer than `first`; or no picture is written under the name
            `out`.
    """
    written_format(out)  # judged before the work begins
    tokenizer = load_image_tokenizer(model)
    height, width = _check(tokens, metadata, tokenizer, path)
    if first is not None and not 1 <= first <= tokens.size:
        raise UserError(
            f"{path} holds {counted(tokens.size, 'token')}; show a number of them from 1 to "
            f"{tokens.size:,}."
        )
    if first is None:
        picture_CHW = tokenizer.decode(torch.from_numpy(tokens.astype(np.int64))[None])[0]
    else:
        rows, columns = tokens.shape
        picture_CHW = tokenizer.preview(tokens.flatten()[:first].tolist(), (rows, columns))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_image(out, middle(to_pixels(picture_CHW[None])[0], height, width))


def _check(
    tokens: np.ndarray, metadata: dict[str, str], tokenizer: ImageTokenizer, path: Path
) -> tuple[int, int]:
    """Height and width of the picture, after everything that a file can have wrong was judged."""
    header, config = Header(metadata, path), tokenizer.config
    header.check_version()
    if tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer):
        raise foreign(path, metadata)
    if not tokens.size:
        raise UserError(f"{path} holds no picture; encode the file again.")
    ours = {"patch": config.patch, "codebook_size": config.codebook_size}
    if any(header.number(key) not in (None, value) for key, value in ours.items()):
        raise foreign(path, metadata)
    known = fingerprint(tokenizer)
    if metadata.get("tokenizer", known) != known:
        raise foreign(path, metadata)
    if int(tokens.min()) < 0 or int(tokens.max()) >= config.codebook_size:
        raise foreign(path, metadata)
    if tokens.size > _most_tokens(config):
        raise UserError(
            f"{path} holds more than {_most_tokens(config):,} tokens; encode the picture smaller "
            "(--size)."
        )
    rows, columns = tokens.shape
    return _side(header, "height", rows, config.patch), _side(
        header, "width", columns, config.patch
    )


def _side(header: Header, key: str, cells: int, patch: int) -> int:
    """Pixels on a side that takes `cells` tokens, as the file says it."""
    side = header.number(key)
    if side is None or not (cells - 1) * patch < side <= cells * patch:
        said = header.metadata.get(key, "")[:20]
        raise header.contradiction(f"{key} is {said!r}, the tokens hold {cells * patch:,}")
    return side
