"""A fake model that listens: it answers speech when it has ended, and goes on for a while."""

from __future__ import annotations

from typing import Any

import numpy as np
from fake import FakeModel, FakeSession

from quintet.live.session import StepOutput

ANSWER_STEPS = 8


class TalkingSession(FakeSession):
    """Says "I heard N" about N loud steps; besides what its parent says."""

    def __init__(self, model: FakeModel) -> None:
        super().__init__(model)
        self.loud = self.quiet = self.left = 0

    def step(
        self, audio: np.ndarray, image: np.ndarray | None = None, text: str | None = None
    ) -> StepOutput:
        made = super().step(audio, image, text)
        words = ""
        if audio.any():
            self.loud, self.quiet = self.loud + 1, 0
        elif self.loud:
            self.quiet += 1
        if self.quiet == 2:
            words, self.left = f"I heard {self.loud}", ANSWER_STEPS
            self.loud = self.quiet = 0
        if not self.left or made.speaking:
            return made
        self.left -= 1
        counts = made.counts | {"text_out": len(words.split()), "audio_out": 5}
        fields: dict[str, Any] = made.__dict__ | {
            "audio": np.full(len(audio), 0.5, np.float32), "speaking": True, "text": words,
            "text_ended": bool(words), "counts": counts,
        }  # fmt: skip
        return StepOutput(**fields)


class TalkingModel(FakeModel):
    def session(self, **_: Any) -> FakeSession:
        self.num_sessions += 1
        return TalkingSession(self)
