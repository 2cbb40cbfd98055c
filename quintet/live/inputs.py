"""What a caller hands in as sound or picture, checked at the border: one rule for all doors."""

from __future__ import annotations

import numpy as np
from PIL import Image

from quintet.config import STEP_SAMPLES, UserError
from quintet.media.images import on_white

QUIET_SHARE = 0.1  # of the loudest step: under it, a step of a sound is a pause
PAUSE_STEPS = 2  # after speech: the first may still hold the end of a last soft consonant


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


def loud_steps(sound_S: np.ndarray) -> np.ndarray:
    """Which steps of a sound are louder than its pauses: bool [steps], the last may be short."""
    padded = np.pad(sound_S, (0, -len(sound_S) % STEP_SAMPLES)).reshape(-1, STEP_SAMPLES)
    loudness = np.sqrt(np.square(padded).mean(1))
    loudest, room = loudness.max(initial=0), loudness.min(initial=1)
    # A noisy room is heard in every step: its pauses are as loud as the quietest one.
    return loudness > max(QUIET_SHARE * loudest, min(2 * room, loudest / 2))


def spoken_part(sound_S: np.ndarray) -> np.ndarray:
    """A sound from a step before its first loud one to `PAUSE_STEPS` after its last; as it is
    where nothing is loud. What is missing at the end is silence."""
    loud = np.flatnonzero(loud_steps(sound_S))
    if not len(loud):
        return sound_S
    start = max(0, int(loud[0]) - 1) * STEP_SAMPLES
    end = (int(loud[-1]) + 1 + PAUSE_STEPS) * STEP_SAMPLES
    return np.pad(sound_S[start:end], (0, max(0, end - max(len(sound_S), start))))
