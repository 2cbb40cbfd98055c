"""A conversation in the terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quintet.commands.chat import Chat
from quintet.config import UserError
from quintet.live.turns import TurnReply


class _Refusing:
    """Refuses the first message."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def chat(self, messages: list[dict[str, object]], seed: int) -> TurnReply:
        self.heard.append(messages[0]["content"])
        if len(self.heard) == 1:
            raise UserError("Too long; shorten it.")
        return TurnReply("yes", [], np.zeros(0, np.float32))


def test_what_is_attached_stays_until_it_is_answered(tmp_path: Path) -> None:
    model = _Refusing()
    chat = Chat(model, tmp_path, 0)  # type: ignore[arg-type]
    chat.parts = ["a picture"]
    with pytest.raises(UserError):
        chat.say("what is this?")
    chat.say("what?")
    assert model.heard == [["a picture", "what is this?"], ["a picture", "what?"]]
    assert chat.parts == []
