"""A session whose output is written down beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from quintet.config import STEP_SAMPLES
from quintet.live.session import StepOutput

SILENT = {"text_out": 0, "image_out": 0, "audio_out": 0}


def silent(step: int, **changes: Any) -> StepOutput:
    """A step without output, but for the `changes`."""
    counts = {"text_in": 0, "image_in": 0, "audio_in": 3} | SILENT
    quiet = np.zeros(STEP_SAMPLES, np.float32)
    out = StepOutput(step, quiet, False, "", False, None, False, counts, (0.97, 0.99), 0.01)
    return replace(out, **changes)


def speaking(step: int, words: str = "", ended: bool = False) -> StepOutput:
    """A step of a hum, and perhaps words."""
    hum = 0.3 * np.sin(np.arange(STEP_SAMPLES) / 9).astype(np.float32)
    counts = silent(step).counts | {"audio_out": 3, "text_out": len(words.split())}
    return silent(step, audio=hum, speaking=True, text=words, text_ended=ended, counts=counts,
                  no_output=(0.1, 0.02))  # fmt: skip


class ScriptedSession:
    """Gives the outputs of `script` (by step), else silence; keeps what it was given."""

    def __init__(self, script: list[StepOutput]) -> None:
        self.script = {out.step: out for out in script}
        self.heard: list[tuple[bool, bool, str | None]] = []  # sound, picture, text

    def step(
        self, audio: np.ndarray, image: np.ndarray | None = None, text: str | None = None
    ) -> StepOutput:
        self.heard.append((bool(audio.any()), image is not None, text))
        now = len(self.heard)
        return self.script.get(now, silent(now))
