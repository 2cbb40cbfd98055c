"""`quintet encode` and `quintet decode`: one tokenizer both ways, over files.

A token file is safetensors with one tensor, `tokens`: [T, Q] codes of sound, [G, G] codes of a
picture, or [N] entries of text. Its metadata says which medium, whose tokenizer, and, of sound,
what is needed to give the same length back.
"""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from quintet.commands.sound_tokens import SOUND_EXAMPLES, SOUNDS, decode_sound, encode_sound
from quintet.config import UserError
from quintet.live import Quintet, load
from quintet.media.images import fit_image, read_image, write_image

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
TEXTS = (".txt", ".md")
MAX_CHARACTERS = 500_000  # of a text
MAX_TOKEN_BYTES = 256_000_000  # of a token file


def encode_file(path: Path, out: Path | None, model: str, codebooks: int | None = None) -> str:
    """Write the tokens of a sound, picture or text; a line that says what they cost and keep.

    Sound needs the model's codec only, so `model` may name a codec's folder; `codebooks` keeps
    only the first ones of it.

    Raises:
        UserError: the file cannot be read or is of no known kind, there is no such model, or it
            has fewer codebooks.
    """
    suffix = path.suffix.lower()
    if codebooks is not None and suffix in PICTURES + TEXTS:
        raise UserError("--codebooks chooses how much of a sound is kept; leave it out here.")
    if suffix in SOUNDS:
        tokens, metadata, note = encode_sound(path, model, codebooks)
    elif suffix in PICTURES:
        tokens, metadata, note = _encode_picture(path, load(model))
    elif suffix in TEXTS:
        tokens, metadata, note = _encode_text(path, load(model))
    elif not path.is_file():
        raise UserError(f"There is no file {path}; check the name.")
    else:
        raise UserError(
            f"{path} is of no known kind; its name must end as a sound's does ({SOUND_EXAMPLES} "
            f"...), a picture's ({', '.join(PICTURES)}) or a text's ({', '.join(TEXTS)})."
        )
    out = out or path.with_name(path.name + ".safetensors")
    _write_bytes(out, save({"tokens": tokens}, metadata={**metadata, "model": model}))
    return f"{out}: {note}"


def _encode_picture(path: Path, model: Quintet) -> tuple[np.ndarray, dict[str, str], str]:
    config = model.config.image
    pixels = fit_image(read_image(path), config.size)
    with torch.no_grad():
        codes = model.tokenizers.encode_image(pixels)
        made = _picture(codes, model)
    error = np.square((made.astype(np.float64) - pixels) / 255).mean()
    bits = codes.size * math.log2(config.codebook_size)
    psnr = -10 * math.log10(max(float(error), 1e-10))
    note = (
        f"{config.size} x {config.size} pixels in {codes.size:,} codes, "
        f"{bits / config.size**2:.2f} bits a pixel; PSNR {psnr:.1f} dB"
    )
    return codes.reshape(config.grid, config.grid), {"medium": "picture"}, note


def _encode_text(path: Path, model: Quintet) -> tuple[np.ndarray, dict[str, str], str]:
    if not path.is_file():
        raise UserError(f"There is no text {path}; check the name.")
    if path.stat().st_size > 4 * MAX_CHARACTERS:
        raise _too_long(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; convert it.") from None
    if len(text) > MAX_CHARACTERS:
        raise _too_long(path)
    ids = np.array(model.tokenizers.text.encode(text), np.int32)
    per_token = len(text.encode()) / max(1, len(ids))
    note = f"{len(text):,} characters in {len(ids):,} tokens, {per_token:.2f} bytes a token"
    return ids, {"medium": "text"}, note


def _too_long(path: Path) -> UserError:
    return UserError(f"{path} has more than {MAX_CHARACTERS:,} characters; encode it in parts.")


def decode_file(path: Path, out: Path | None, model: str) -> str:
    """Write the medium of a token file; a line that says what it is.

    Raises:
        UserError: the file is missing, damaged, or holds tokens that the model does not have.
    """
    tokens, metadata = _read_tokens(path)
    medium, stem = metadata.get("medium"), path.name.removesuffix(".safetensors")
    if medium == "sound":
        out = out or path.with_name(f"{stem}.decoded.wav")
        decode_sound(tokens, metadata, path, out, model)
    elif medium == "picture":
        out = out or path.with_name(f"{stem}.decoded.png")
        system = load(model)
        grid = system.config.image.grid
        _check(tokens, (grid, grid), system.config.image.codebook_size, path)
        write_image(_ready(out), _picture(tokens.flatten(), system))
    elif medium == "text":
        out = out or path.with_name(f"{stem}.decoded.txt")
        system = load(model)
        _check(tokens, (len(tokens),), system.tokenizers.text.vocab_size, path)
        if len(tokens) > 4 * MAX_CHARACTERS:  # a character takes at most four bytes, each a token
            raise UserError(f"{path} holds too long a text; encode it in parts.")
        _write_bytes(out, system.tokenizers.text.decode(tokens.tolist()).encode())
    else:
        raise UserError(f"{path} does not say what its tokens are; encode the file again.")
    return f"{out}: {medium} from {tokens.size:,} tokens"


def _read_tokens(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    if not path.is_file():
        raise UserError(f"There is no token file {path}; check the name.")
    if path.stat().st_size > MAX_TOKEN_BYTES:
        raise UserError(f"{path} is too large for a token file; decode it in parts.")
    try:
        with safe_open(path, "numpy") as file:
            tokens, metadata = file.get_tensor("tokens"), file.metadata() or {}
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError):
        tokens, metadata = np.zeros(()), {}
    if not tokens.ndim:
        raise UserError(f"{path} is not a token file; make one with quintet encode.")
    return tokens, metadata


def _check(tokens: np.ndarray, shape: tuple[int, ...], entries: int, path: Path) -> None:
    whole = np.issubdtype(tokens.dtype, np.integer) and tokens.shape == shape
    if not whole or (tokens.size and not 0 <= tokens.min() <= tokens.max() < entries):
        raise UserError(
            f"{path} holds tokens of another model; decode it with the model that encoded it "
            "(--model)."
        )


def _picture(codes: np.ndarray, model: Quintet) -> np.ndarray:
    """uint8 [H, W, 3] of codes [G * G]."""
    with torch.no_grad():
        picture_CHW = model.tokenizers.image.preview(codes.tolist())
    pixels: np.ndarray = (picture_CHW.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return pixels


def _ready(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_bytes(path: Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    handle, partial = tempfile.mkstemp(dir=_ready(path).parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(partial, 0o644)  # a temporary file is private, the result need not be
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
