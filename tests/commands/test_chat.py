"""A conversation in the terminal."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from conftest import run

import quintet
from quintet.commands.chat import Chat
from quintet.config import UserError
from quintet.live.pretrained import Quintet
from quintet.live.speakers import speaker_codes
from quintet.live.turns import TurnReply
from quintet.media.audio import write_audio
from quintet.media.images import write_image
from quintet.tokenizers.bundle import Tokenizers


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


def test_answers_of_an_earlier_conversation_are_kept(tmp_path: Path) -> None:
    picture, sound = np.zeros((4, 4, 3), np.uint8), np.zeros(0, np.float32)
    model = SimpleNamespace(chat=lambda *_, **__: TurnReply("yes", [picture], sound))
    (tmp_path / "007-0.png").touch()
    (tmp_path / "99 balloons.png").touch()
    for _ in range(2):
        chat = Chat(model, tmp_path, 0)  # type: ignore[arg-type]
        chat.say("draw a cat.")
        chat.say("draw a cat.")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{number:03d}-0.png" for number in range(7, 12)} | {"99 balloons.png"}


@pytest.mark.parametrize(
    ("line", "says"),
    [("/image", "/image FILE"), ("/sound  ", "/sound FILE"), ("  ", "nothing"), ("/sing", "/sing")],
)
def test_a_line_that_says_nothing_is_told(line: str, says: str, tmp_path: Path) -> None:
    chat = Chat(_Refusing(), tmp_path, 0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=says):
        chat._line(line)


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


def test_a_voice_is_told_and_a_wrong_one_before_anything_is_typed(tmp_path: Path) -> None:
    told: list[object] = []

    class Model(_Drawing):
        voices: ClassVar[dict[str, np.ndarray]] = {"linda": np.ones((1, 3), np.int32)}

        def speaker(self, voice: str) -> np.ndarray | None:
            return speaker_codes(voice, self.voices, None)  # type: ignore[arg-type]

        def chat(self, messages: list[dict[str, object]], seed: int, **named: object) -> TurnReply:
            told.append(named["voice"])
            return super().chat(messages, seed)

    for voice in ("linda", "quintet", None):
        Chat(Model(), tmp_path, 0, voice).say("hello")  # type: ignore[arg-type]
    assert told[0] is Model.voices["linda"] and told[1:] == [None, None]
    assert Model().speaker("quintet") is None  # the model's own has this name everywhere
    with pytest.raises(UserError, match=r"no voice 'otto'; .* linda, or a recording\.$"):
        Chat(Model(), tmp_path, 0, "otto")  # type: ignore[arg-type]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every sound that is encoded from now on."""
    encode, sounds = Tokenizers.encode_audio, list[np.ndarray]()

    def note(self: Tokenizers, sound: np.ndarray) -> np.ndarray:
        sounds.append(sound)
        return encode(self, sound)

    monkeypatch.setattr(Tokenizers, "encode_audio", note)
    return sounds


def test_the_commands_take_a_voice_and_chat_reads_it_once(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "somebody.wav"
    loud = 0.3 * np.sin(np.arange(36_000, dtype=np.float32) / 9)
    write_audio(file, np.pad(loud, 12_000))  # between silences
    heard: list[np.ndarray] = []

    def talk(self: Quintet, *_: object, voice: str) -> None:
        heard.append(self.speaker(voice))  # type: ignore[arg-type]
        raise UserError("Enough was heard; stop.")

    def chat(self: Quintet, *_: object, voice: str) -> TurnReply:
        heard.append(self.speaker(voice))  # type: ignore[arg-type]
        return TurnReply("yes", [], np.zeros(0, np.float32))

    monkeypatch.setattr(Quintet, "talk", talk)
    monkeypatch.setattr(Quintet, "chat", chat)
    asked = ("--voice", file, "--model", model_folder, "--out", tmp_path / "out")
    assert run("talk", "--text", "hello.", *asked) == 2
    assert run("chat", "--once", "hello.", *asked) == 0
    assert [codes.shape[1] for codes in heard] == [3, 3] and len(heard[0]) > 10
    assert np.array_equal(*heard)

    listened = counted(monkeypatch)
    chat_there = Chat(Quintet.from_pretrained(model_folder), tmp_path / "out", 0, str(file))
    file.unlink()  # it was read once, and encoded once
    chat_there.say("hello.")
    chat_there.say("again.")
    assert len(heard) == 4 and np.array_equal(heard[0], heard[3]) and len(listened) == 1


def typed(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a person type so many lines, and then leave."""
    left = iter(lines)

    def read(_: str) -> str:
        if (line := next(left, None)) is None:
            raise EOFError
        return line

    monkeypatch.setattr("builtins.input", read)


@pytest.mark.parametrize("kind", ["image", "sound"])
def test_what_is_attached_waits_for_a_line(
    kind: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file, asked = tmp_path / "file.png", list[object]()
    if kind == "image":
        write_image(file, np.zeros((9, 9, 3), np.uint8))
    else:
        write_audio(file := tmp_path / "file.wav", np.zeros(9_000, np.float32))

    def chat(_: Quintet, messages: list[dict[str, list[object]]], *__: object, **___: object):
        asked.append([type(part) for part in messages[0]["content"]])
        return TurnReply("yes", [], np.zeros(0, np.float32))

    monkeypatch.setattr(Quintet, "chat", chat)
    command = ("chat", f"--{kind}", file, "--model", model_folder)
    typed([], monkeypatch)
    assert run(*command) == 0 and not asked
    assert "goes with your next message" in capsys.readouterr().out
    typed(["what is this?", f"/{kind} {file}", f"/{kind} {tmp_path}", "and this?"], monkeypatch)
    assert run(*command) == 0
    told = capsys.readouterr()
    assert len(asked) == 2 and asked[0] == asked[1] and len(asked[0]) == 2  # type: ignore[arg-type]
    assert f"{file} goes with your next message" in told.out
    assert told.err.startswith(f"{tmp_path} is a folder; name ")
    assert run(*command, "--once", "what?") == 0 and len(asked) == 3
    assert "goes with" not in capsys.readouterr().out
    assert run(*command, "--once", "") == 0 and len(asked) == 4  # a sound is enough by itself
    typed([f"/{kind} {file}", "/new", ""], monkeypatch)
    assert run("chat", "--model", model_folder) == 0 and len(asked) == 4
    told = capsys.readouterr()
    assert "What you attached" not in told.out and "nothing is attached" in told.out
    assert told.err.startswith("There is nothing to answer")


def test_a_picture_stays_attached_until_something_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "grey.png", np.full((48, 48, 3), 200, np.uint8))
    typed([f"/image {tmp_path / 'grey.png'}", "", "what is this?", ""], monkeypatch)
    Chat(quintet.load("nano"), tmp_path / "out", 0).run()
    told = capsys.readouterr()
    alone, nothing = told.err.splitlines()
    assert alone.startswith("A picture alone asks nothing") and nothing.startswith("There is noth")
    assert told.out.count("This is") == 1
