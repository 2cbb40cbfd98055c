"""A dialogue that a test speaks to, step by step, with a model whose output it writes down."""

from __future__ import annotations

from typing import Any

import numpy as np
from fake import FakeModel
from openai_types import check_event
from scripted_output import silent

from quintet.live.session import StepOutput
from quintet.serve.api.settings import Settings
from quintet.serve.realtime.dialogue import Dialogue
from quintet.serve.realtime.items import Item, parse_item


class Talk:
    """A dialogue whose events are checked, and whose model says what the test wants."""

    def __init__(
        self,
        input: dict[str, Any] | None = None,
        voices: dict[str, np.ndarray] | None = None,
        **session: Any,
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.given: list[tuple[bool, bool, str | None]] = []  # sound, picture, text
        self.transcribed: list[tuple[Item, np.ndarray]] = []
        model = FakeModel()
        model.voices = voices or {}
        self.dialogue = Dialogue(
            Settings(model="fake"),
            self.send,
            lambda _: None,
            lambda *turn: self.transcribed.append(turn),
            model,
        )
        if input is not None:
            session["audio"] = {"input": input}
        if session:
            self.dialogue.update({"type": "realtime"} | session)
        self.events.clear()

    def send(self, event: dict[str, Any]) -> None:
        check_event(event)
        self.events.append(event)

    def step(self, *outputs: StepOutput) -> None:
        for output in outputs or (silent(),):
            sound, picture, text = self.dialogue.given()
            self.given.append((bool(sound.any()), picture is not None, text))
            self.dialogue.answered(output)

    def hear(self, *frames: bytes) -> None:
        """Step through sound, and a model that only listens."""
        for frame in frames:
            self.dialogue.ears.append(frame)
        self.step(*[silent()] * (len(frames) + 1))

    def write(self, text: str, **fields: Any) -> None:
        item = {"type": "message", "role": "user",
                "content": [{"type": "input_text", "text": text}]}  # fmt: skip
        self.dialogue.create(parse_item(item | fields), None)

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    def last(self, kind: str) -> dict[str, Any]:
        return next(event for event in reversed(self.events) if event["type"] == kind)
