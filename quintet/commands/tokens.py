"""`quintet encode` and `quintet decode`: one tokenizer both ways, over files.

A token file is safetensors with one tensor, `tokens`: [T, Q] codes of sound, [R, G] codes of a
picture, or [N] entries of text. Its metadata says which medium, whose tokenizer, and what is
needed to give the same length of sound or size of picture back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from quintet.commands.picture_tokens import decode_picture, encode_picture
from quintet.commands.sound_tokens import SOUND_EXAMPLES, decode_sound, encode_sound
from quintet.commands.token_header import foreign
from quintet.config import UserError, counted
from quintet.live import Quintet, load
from quintet.media.audio import SUFFIXES as SOUNDS
from quintet.media.images import SUFFIXES as PICTURES
from quintet.whole_file import whole_file

TEXTS = (".txt", ".md")
DECODED = {"sound": ".wav", "picture": ".png", "text": ".txt"}  # unless --out says otherwise
MAX_CHARACTERS = 500_000  # of a text
MAX_TOKEN_BYTES = 256_000_000  # of a token file


def encode_file(
    path: Path,
    out: Path | None,
    model: str,
    codebooks: int | None = None,
    size: int | None = None,
) -> str:
    """Write the tokens of a sound, picture or text; a line that says what they cost and keep.

    A sound needs the model's codec only, and a picture its image tokenizer, so that `model` may
    name a folder of one of them.

    Args:
        codebooks: of a sound, keep only so many, the first ones.
        size: of a picture, pixels on the longer side at most.

    Raises:
        UserError: the file cannot be read or is of no known kind, there is no such model, it has
            fewer codebooks, or a setting belongs to another kind of file; or `out` is a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file, or see quintet tokenize.")
    suffix, out = path.suffix.lower(), out or path.with_name(path.name + ".safetensors")
    _check_out(out, path)
    if codebooks is not None and suffix in PICTURES + TEXTS:
        raise UserError("--codebooks chooses how much of a sound is kept; leave it out here.")
    if size is not None and suffix in SOUNDS + TEXTS:
        raise UserError("--size chooses how large a picture is; leave it out here.")
    if suffix in SOUNDS:
        tokens, metadata, note = encode_sound(path, model, codebooks)
    elif suffix in PICTURES:
        tokens, metadata, note = encode_picture(path, model, size)
    elif suffix in TEXTS:
        tokens, metadata, note = _encode_text(path, load(model))
    elif not path.is_file():
        raise UserError(f"There is no file {path}; check the name.")
    else:
        raise UserError(
            f"{path} is of no known kind; its name must end as a sound's does ({SOUND_EXAMPLES} "
            f"...), a picture's ({', '.join(PICTURES)}) or a text's ({', '.join(TEXTS)})."
        )
    _write_bytes(out, save({"tokens": tokens}, metadata={**metadata, "model": model}))
    return f"{out}: {note}"


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
    characters, tokens = counted(len(text), "character"), counted(len(ids), "token")
    return ids, {"medium": "text"}, f"{characters} in {tokens}, {per_token:.2f} bytes a token"


def _too_long(path: Path) -> UserError:
    return UserError(f"{path} has more than {MAX_CHARACTERS:,} characters; encode it in parts.")


def decode_file(path: Path, out: Path | None, model: str, first: int | None = None) -> str:
    """Write the medium of a token file; a line that says what it is.

    Args:
        first: of a picture, show only what so many tokens give, and white elsewhere.

    Raises:
        UserError: the file is missing, damaged, or holds tokens that the model does not have;
            `first` is given for another medium than a picture; or `out` is a folder, or has a
            name that the medium is not written under.
    """
    tokens, metadata = _read_tokens(path)
    medium, stem = metadata.get("medium"), path.name.removesuffix(".safetensors")
    if first is not None and medium != "picture":
        raise UserError("--tokens shows the beginning of a picture; leave it out here.")
    if medium not in DECODED:
        raise UserError(f"{path} does not say what its tokens are; encode the file again.")
    out = out or path.with_name(f"{stem}.decoded{DECODED[medium]}")
    _check_out(out, path)
    if medium == "sound":
        decode_sound(tokens, metadata, path, out, model)
    elif medium == "picture":
        decode_picture(tokens, metadata, path, out, model, first)
    else:
        system = load(model)
        _check_text(tokens, metadata, system.tokenizers.text.vocab_size, path)
        if len(tokens) > 4 * MAX_CHARACTERS:  # a character takes at most four bytes, each a token
            raise UserError(f"{path} holds too long a text; encode it in parts.")
        _write_bytes(out, system.tokenizers.text.decode(tokens.tolist()).encode())
    return f"{out}: {medium} from {counted(first or tokens.size, 'token')}"


def _read_tokens(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    if path.is_dir():
        raise UserError(
            f"{path} is a folder; name a token file, such as {path / 'say.safetensors'}."
        )
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


def _check_text(tokens: np.ndarray, metadata: dict[str, str], entries: int, path: Path) -> None:
    whole = np.issubdtype(tokens.dtype, np.integer) and tokens.ndim == 1
    if not whole or (tokens.size and not 0 <= tokens.min() <= tokens.max() < entries):
        raise foreign(path, metadata)


def _check_out(out: Path, source: Path) -> None:
    """Before the work begins, whose result would have no place, or take that of its source."""
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file with --out.")
    if out.exists() and source.exists() and out.samefile(source):
        raise UserError(f"{out} is the file to read, and would be lost; name another with --out.")


def _write_bytes(path: Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(content)
