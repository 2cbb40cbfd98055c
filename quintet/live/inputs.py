"""Sound, pictures and words as callers hand them in: checked, and of a sound what is said in it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from quintet.config import MAX_TEXT_TOKENS, STEP_SAMPLES, UserError
from quintet.media.images import on_white
from quintet.media.loudness import FAINTEST, loudness, speech_spans


def as_sound(value: object) -> np.ndarray:
    """`value` as float32 [samples].

    Raises:
        UserError: it is not an array of finite floating-point samples of one channel.
    """
    if not isinstance(value, np.ndarray):
        raise UserError(
            f"Sound is an array of samples, not a {type(value).__name__}; give a NumPy array."
        )
    if value.ndim != 1:
        raise UserError(
            f"Sound has one channel, [samples], and this array has the shape {value.shape}; "
            "average its channels."
        )
    if not np.issubdtype(value.dtype, np.floating):  # taken as they are, all would be clipped
        raise UserError(
            f"Sound is floating-point numbers within [-1, 1], not {value.dtype}; "
            "divide 16-bit samples by 32768."
        )
    if not np.isfinite(value).all():
        raise UserError("The sound holds values that are not numbers; give finite samples.")
    return value.astype(np.float32, copy=False)


def as_picture(value: object) -> np.ndarray:
    """`value`, an array or a PIL image, as uint8 [H, W, 3].

    Raises:
        UserError: it is neither, or has no pixels.
    """
    if isinstance(value, Image.Image) and value.width * value.height:
        return np.asarray(on_white(value))
    if not isinstance(value, np.ndarray):
        raise UserError(
            f"A picture is an array or a PIL image that has pixels, not a {type(value).__name__}; "
            "give one of these."
        )
    if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3 or not value.size:
        raise UserError(
            f"A picture is an array of uint8 [height, width, 3], not of {value.dtype} with the "
            f"shape {value.shape}; convert it."
        )
    return value


def as_text(value: object) -> str:
    """`value`, words.

    Raises:
        UserError: it is no string.
    """
    if not isinstance(value, str):
        raise UserError(f"A text is a string, not of type {type(value).__name__}; give a string.")
    return value


def spoken_spans(sound_S: np.ndarray) -> list[tuple[int, int]]:
    """As `speech_spans`; but what is as loud throughout may be a word cut off at both ends, so it
    is speech where it can be heard."""
    if found := speech_spans(sound_S):
        return found
    is_heard = len(sound_S) > 0 and loudness(sound_S).max() > FAINTEST
    return [(0, len(sound_S))] if is_heard else []


def spoken_part(sound_S: np.ndarray) -> np.ndarray:
    """A sound from a step before its first word to a step or two after its last, whole steps; as
    it is where nothing is heard. What is missing at its ends is silence."""
    spans = spoken_spans(sound_S)
    if not spans:
        return sound_S
    start, end = spans[0][0] - STEP_SAMPLES, spans[-1][1] + STEP_SAMPLES
    end += (start - end) % STEP_SAMPLES
    return np.pad(sound_S[max(0, start) : end], (max(0, -start), max(0, end - len(sound_S))))


def too_long(text: str) -> UserError:
    """What a person can do about a text that has more than `MAX_TEXT_TOKENS` tokens: they count
    characters, only the model tokens.

    A token holds one byte or more, and one token ends the text, so that parts of this many
    characters fit, however they are spread.
    """
    longest = max(len(character.encode("utf-8", "replace")) for character in set(text))
    part = (MAX_TEXT_TOKENS - 1) // longest // 10 * 10
    return UserError(
        f"The text has {len(text):,} characters, more than the model reads at once "
        f"({MAX_TEXT_TOKENS} tokens); shorten it, or send it in parts of {part} characters."
    )
