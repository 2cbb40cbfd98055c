"""Sound files to arrays and back: whatever the file holds becomes 24 kHz, one channel."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

from quintet.config import SAMPLE_RATE, UserError

MAX_SECONDS = 600.0  # of a file that a person hands in, unless the caller says otherwise
MAX_CHANNELS = 8
RATES = (4_000, 192_000)  # samples a second: lowest and highest that are read
BLOCK_SECONDS = 10  # a file is decoded in blocks of this length


def read_audio(path: Path | str, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """The sound of a file, float32 [samples] at 24 kHz, one channel, within [-1, 1].

    Raises:
        UserError: the file is missing, is not sound, is broken or empty, lasts longer than
            `max_seconds`, or has an unusual rate or number of channels.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no sound file {path}; check the name.")
    try:
        with path.open("rb") as file:
            return _decode(file, str(path), max_seconds)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check its permissions."
        ) from None


def read_audio_bytes(
    data: bytes, max_seconds: float = MAX_SECONDS, name: str = "The sound"
) -> np.ndarray:
    """The same for a file's content; `name` is what messages call it.

    Raises:
        UserError: as `read_audio`.
    """
    return _decode(io.BytesIO(data), name, max_seconds)


def write_audio(path: Path | str, samples: np.ndarray) -> None:
    """Write float [samples] at 24 kHz as a 16-bit WAV; the file appears whole or not at all.

    Values outside [-1, 1] are clipped.
    """
    path = Path(path)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            whole = np.clip(np.asarray(samples, np.float32), -1, 1)
            soundfile.write(file, whole, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        os.chmod(partial, 0o644)  # a temporary file is private, the result need not be
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _decode(file: io.IOBase, name: str, max_seconds: float) -> np.ndarray:
    try:
        with soundfile.SoundFile(file) as sound:
            _check_header(sound, name, max_seconds)
            rate = sound.samplerate
            mono = _read_mono(sound, name, max_seconds)
    except (soundfile.LibsndfileError, RuntimeError, TypeError):  # TypeError: a name in .raw
        raise UserError(
            f"{name} is not a sound file that can be read; use WAV, FLAC, OGG or MP3."
        ) from None
    if not len(mono):
        raise UserError(f"{name} is empty; give a file that holds sound.")
    if not np.isfinite(mono).all():
        raise UserError(f"{name} holds values that are not numbers; export the sound again.")
    resampled = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)
    if not len(resampled):
        raise UserError(f"{name} is too short; give a file that holds sound.")
    return np.clip(resampled, -1, 1).astype(np.float32, copy=False)


def _check_header(sound: soundfile.SoundFile, name: str, max_seconds: float) -> None:
    """What the header claims is judged before anything is decoded."""
    rate, channels = sound.samplerate, sound.channels
    if not RATES[0] <= rate <= RATES[1]:
        raise UserError(
            f"{name} has {rate} samples a second; convert it to between {RATES[0]} and {RATES[1]}."
        )
    if channels > MAX_CHANNELS:
        raise UserError(f"{name} has {channels} channels; mix it down to at most {MAX_CHANNELS}.")
    # A pipe or a broken header can claim an absurd length: the reader below counts for itself.
    if 0 < sound.frames < 2**62 and sound.frames > max_seconds * rate:
        raise _too_long(name, max_seconds)


def _read_mono(sound: soundfile.SoundFile, name: str, max_seconds: float) -> np.ndarray:
    """Block by block, the mean of the channels: a header that lies costs no memory."""
    blocks, total, limit = [], 0, max_seconds * sound.samplerate
    while True:
        block = sound.read(BLOCK_SECONDS * sound.samplerate, dtype="float32", always_2d=True)
        if not len(block):
            break
        total += len(block)
        if total > limit:
            raise _too_long(name, max_seconds)
        blocks.append(block.mean(axis=1))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _too_long(name: str, max_seconds: float) -> UserError:
    return UserError(
        f"{name} lasts longer than {max_seconds:g} seconds; cut it into shorter files."
    )
