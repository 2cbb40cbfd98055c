"""Outputs of a model that a test writes down."""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.config import STEP_SAMPLES
from quintet.live.session import StepOutput


def silent(**changes: Any) -> StepOutput:
    counts = dict.fromkeys(
        ("text_in", "audio_in", "image_in", "text_out", "image_out", "audio_out"), 0
    )
    values: dict[str, Any] = {
        "step": 1, "audio": np.zeros(STEP_SAMPLES, np.float32), "speaking": False, "text": "",
        "text_ended": False, "image": None, "image_done": False, "counts": counts,
        "no_output": (0.9, 0.9), "seconds": 0.01,
    }  # fmt: skip
    return StepOutput(**(values | changes))


def speaking(text: str = "", ended: bool = False) -> StepOutput:
    """A step of sound, and words; three rows of sound and one a word."""
    counts = silent().counts | {"text_out": len(text.split()), "audio_out": 3}
    sound = np.full(STEP_SAMPLES, 0.25, np.float32)
    return silent(audio=sound, speaking=True, text=text, text_ended=ended, counts=counts)


def drawing(text: str = "", done: bool = False) -> StepOutput:
    """A step of a picture, and words."""
    picture = np.full((48, 48, 3), 90, np.uint8)
    return silent(text=text, image=picture, image_done=done, text_ended=done)
