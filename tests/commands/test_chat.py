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

    def chat(self, messages: list[dict[str, object]], seed: int, **_: object) -> TurnReply:
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


class _Drawing:
    def chat(self, messages: list[dict[str, object]], seed: int, **_: object) -> TurnReply:
        sound, picture = np.zeros(240, np.float32), np.zeros((4, 4, 3), np.uint8)
        return TurnReply("yes", [picture], sound)


def test_answers_litter_no_folder_that_nobody_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    chat = Chat(_Drawing(), None, 0)  # type: ignore[arg-type]
    chat.say("draw")
    chat.say("again")
    told = [
        Path(line.split(": ")[1]) for line in capsys.readouterr().out.splitlines() if ":" in line
    ]
    assert sorted(told) == sorted(elsewhere.rglob("*.*")) and len(told) == 4
    assert len({path.parent for path in told}) == 1 and not list(here.iterdir())
