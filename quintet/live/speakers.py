"""The voice that a session answers in: a moment of a speaker's sound, as codes, before step 0.

A model's folder may hold some by name (`voices.safetensors`: int32 [N, Q] of each); any sound in
which somebody speaks makes another. Without one the model has its own voice.

Shapes: N frames, Q codebooks, S samples.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from quintet.config import (
    LEAST_SPEAKER_STEPS,
    MOST_SPEAKER_STEPS,
    STEP_SAMPLES,
    AudioConfig,
    OmniConfig,
    UserError,
)
from quintet.live.inputs import as_sound
from quintet.media.audio import read_audio
from quintet.media.loudness import speech_spans
from quintet.tokenizers.bundle import Tokenizers
from quintet.whole_file import whole_file

LOUDNESS = 0.7  # its peak; training's speakers peak between 0.4 and 1
NAME_LENGTH, MOST = 64, 256  # of a folder's voices
LARGEST_FILE = 16 * 2**20  # bytes of them all
OWN_VOICE = "quintet"  # what the model's own is called


def speaker_sound(sound: np.ndarray) -> np.ndarray:
    """What is heard of a speaker in float32 [S]: the first two seconds of speech, without the
    pauses between, in whole steps, as loud as in training.

    Raises:
        UserError: less than a second of speech.
    """
    sound = as_sound(sound)
    spoken = [sound[start:end] for start, end in speech_spans(sound)]
    heard = np.concatenate([sound[:0], *spoken])[: MOST_SPEAKER_STEPS * STEP_SAMPLES]
    if len(heard) < LEAST_SPEAKER_STEPS * STEP_SAMPLES:
        raise UserError("A voice needs at least a second of speech; give a longer recording.")
    padded = np.pad(heard, (0, -len(heard) % STEP_SAMPLES))
    return (padded * np.float32(LOUDNESS / np.abs(heard).max())).astype(np.float32)


def read_voice(
    voice: str | Path | np.ndarray | None, known: Mapping[str, np.ndarray]
) -> str | np.ndarray | None:
    """A recording's sound, float32 [S]; the name of a voice, or a sound, as it is. None: the
    model's own.

    Raises:
        UserError: no such name or file.
    """
    if voice is None or isinstance(voice, np.ndarray):
        return voice
    name = str(voice)
    if isinstance(voice, str) and (name == OWN_VOICE or name in known):
        return name
    if not _is_file(voice):
        names = ", ".join([OWN_VOICE, *sorted(set(known) - {OWN_VOICE})])
        if isinstance(voice, Path) or Path(name).suffix or "/" in name or os.sep in name:
            raise UserError(
                f"There is no file {name!r}; name another recording, or one of: {names}."
            )
        raise UserError(f"There is no voice {name!r}; name one of: {names}, or a recording.")
    return read_audio(Path(voice))


def speaker_codes(
    voice: str | Path | np.ndarray | None, known: Mapping[str, np.ndarray], tokenizers: Tokenizers
) -> np.ndarray | None:
    """Codes [N, Q] of a voice: a name among the `known`, the path of a recording, or a sound
    float32 [S]; None for the model's own, which is None or its name.

    Raises:
        UserError: no such name or file, or too short a sound.
    """
    read = read_voice(voice, known)
    if isinstance(read, np.ndarray):
        return tokenizers.encode_audio(speaker_sound(read))
    return None if read is None or read == OWN_VOICE else known[read]


def _is_file(path: str | Path) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # too long for a name
        return False


def is_voice(codes: np.ndarray, audio: AudioConfig) -> bool:
    """Whether these may be the codes [N, Q] of a speaker, of a model with such sound."""
    longest = audio.frames_before(MOST_SPEAKER_STEPS)
    return bool(
        codes.dtype == np.int32
        and codes.ndim == 2
        and codes.shape[1] == audio.num_codebooks
        and 0 < len(codes) <= longest
        and codes.min() >= 0
        and codes.max() < audio.codebook_size
    )


def check_voices(voices: Mapping[str, np.ndarray], config: OmniConfig) -> None:
    """Refuse voices that the folder of such a model cannot hold, or that its sessions cannot have.

    Raises:
        UserError: too many, a name that means something else, codes of another model, or more
            than its cache has room for.
    """
    if len(voices) > MOST:
        raise UserError(f"A model can ship {MOST} voices, not {len(voices):,}; leave some out.")
    for name, codes in voices.items():
        if len(name) > NAME_LENGTH:
            raise UserError(
                f"The name {name!r:.40}... is too long for a voice; use {NAME_LENGTH} characters "
                "at most."
            )
        if name in ("", OWN_VOICE):
            raise UserError(f"The name {name!r} means the model's own voice; use another.")
        if not is_voice(codes, config.audio):
            raise UserError(
                f"The voice {name!r} has codes of another model, or too many; make them with "
                "this model's `speaker`."
            )
        needed = len(codes) + config.rows_of_fullest_step
        if needed > config.live.max_rows:
            raise UserError(
                f"The voice {name!r} beside a full step needs max_rows = {needed} in config.json, "
                f"which is {config.live.max_rows}; raise it, or leave the voice out."
            )


def save_voices(voices: Mapping[str, np.ndarray], path: Path, config: OmniConfig) -> None:
    """Write the codes of each, whole or not at all, for everybody on the machine to read.

    Raises:
        UserError: as `check_voices`; nothing is written.
    """
    check_voices(voices, config)
    data = save({name: np.ascontiguousarray(codes) for name, codes in voices.items()})
    assert len(data) <= LARGEST_FILE
    with whole_file(path) as file:
        file.write(data)


def load_voices(path: Path, config: OmniConfig) -> dict[str, np.ndarray]:
    """What `save_voices` wrote, in the order of their names; none without a file.

    Raises:
        UserError: the file is damaged, or not of this model.
    """
    if not path.is_file():
        return {}
    try:
        found = load_file(path) if path.stat().st_size <= LARGEST_FILE else None
    except (SafetensorError, OSError, TypeError, AttributeError, KeyError):  # kinds numpy has not
        found = None
    if found is None:
        raise UserError(f"{path} is damaged; restore it, or delete it.")
    try:
        check_voices(found, config)
    except UserError as error:
        reason = str(error).partition(";")[0]
        raise UserError(f"{path} does not fit: {reason}; restore it, or delete it.") from None
    return dict(sorted(found.items()))
