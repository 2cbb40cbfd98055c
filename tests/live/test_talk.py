"""A live session over files: when the input ends, how long the answer takes, what is saved."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import run
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from PIL import Image, ImageColor
from scripted import ScriptedSession, silent, speaking

from quintet.config import STEP_SAMPLES
from quintet.live import talk as talk_module
from quintet.live.session import StepOutput
from quintet.live.talk import Reply, talk
from quintet.live.timeline_plot import COLOURS, _draw_silence, plot_timeline

SOUND = np.full(2 * STEP_SAMPLES + 3_000, 0.1, np.float32)  # three steps
PICTURE = np.full((9, 9, 3), 200, np.uint8)


@pytest.mark.parametrize("sound", [None, SOUND], ids=["no sound", "sound"])
@pytest.mark.parametrize("pictures", [0, 1, 2])
@pytest.mark.parametrize("text", [None, "hello."], ids=["no text", "text"])
def test_latency_is_counted_from_the_step_after_the_last_input(
    sound: np.ndarray | None, pictures: int, text: str | None
) -> None:
    """The session that answers at once has a latency of nothing, one step later 250 ms."""
    given = (sound, [PICTURE] * pictures, text)
    if sound is None and not pictures and not text:
        return
    session = ScriptedSession([])
    reply = talk(session, *given)  # type: ignore[arg-type]
    assert reply.stats["first_audio_seconds"] is None
    last = max(n for n, (heard, seen, read) in enumerate(session.heard) if heard or seen or read)
    assert reply.input_steps == last + 1
    for late in range(3):
        # The call that takes the last input in gives what plays in the step after it.
        session = ScriptedSession([speaking(last + 1 + late)])
        reply = talk(session, *given)  # type: ignore[arg-type]
        assert reply.stats["first_audio_seconds"] == late / 4


@pytest.mark.parametrize(("late", "told"), [(0, "in the step after"), (2, "0.5 s after")])
def test_an_answer_in_the_next_step_is_told_as_such(
    late: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def answer(*given: Any, voice: None) -> Reply:
        return talk(ScriptedSession([speaking(2 + late)]), *given[:3])  # type: ignore[arg-type]

    monkeypatch.setattr("quintet.cli._load", lambda _: SimpleNamespace(talk=answer))
    assert run("talk", "--text", "hello.", "--out", tmp_path) == 0
    assert f"first sound {told} the question;" in capsys.readouterr().out


def test_who_shows_a_picture_and_asks_nothing_is_told_how_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def answer(*given: Any, voice: None) -> Reply:
        return talk(ScriptedSession([]), None, [PICTURE], given[2])  # type: ignore[arg-type]

    monkeypatch.setattr("quintet.cli._load", lambda _: SimpleNamespace(talk=answer))
    for asked, told in ((["--text", "what is this?"], False), ([], True)):
        assert run("talk", "--image", "any.png", *asked, "--out", tmp_path) == 0
        assert ("ask with --text" in capsys.readouterr().out) == told


def test_a_recording_may_end_in_silence() -> None:
    """An answer that comes while the recording is still silent is no less an answer."""
    for room in (0.001, 0.02):  # a quiet one, and one that is heard
        recording = np.concatenate([SOUND, np.full(5 * STEP_SAMPLES, room, np.float32)])
        reply = talk(ScriptedSession([speaking(6)]), recording)  # type: ignore[arg-type]
        assert (reply.asked_steps, reply.input_steps) == (4, 9)
        assert reply.stats["first_audio_seconds"] == 0.5
    assert talk(ScriptedSession([]), np.zeros(9, np.float32)).asked_steps == 1  # type: ignore[arg-type]


def test_speech_that_was_under_way_is_no_answer() -> None:
    session = ScriptedSession([speaking(step) for step in (1, 2, 3, 4, 5, 8)])
    reply = talk(session, SOUND)  # type: ignore[arg-type]
    assert reply.input_steps == 4
    assert reply.stats["first_audio_seconds"] == 1.0  # the utterance of step 8


def _counting() -> list[StepOutput]:
    """Counts one to ten over several steps, draws, and answers once more."""
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten."]
    outputs = {step: silent(step) for step in range(1, 45)}
    outputs[1] = silent(1, counts=outputs[1].counts | {"text_in": 7})
    outputs[3] = silent(3, counts=outputs[3].counts | {"image_in": 64})
    for index, word in enumerate(words):
        ended = index == len(words) - 1
        outputs[6 + index] = speaking(6 + index, word + " " * (not ended), ended)
    for step in range(17, 21):  # a picture, a quarter at a time
        picture = np.full((48, 48, 3), 255, np.uint8)
        picture[: 12 * (step - 16)] = (220, 60 * (step - 16), 40)
        counts = silent(step).counts | {"image_out": 16, "text_out": step == 17}
        outputs[step] = silent(step, image=picture, image_done=step == 20, counts=counts)
    for step, word in (
        (18, "$x^$ 🍎"),
        (19, "this is a long sentence, " * 5 + "and here it ends."),
    ):
        outputs[step] = silent(step, text=word, text_ended=True, image=outputs[step].image,
                               counts=outputs[step].counts | {"text_out": 5})  # fmt: skip
    for step in range(30, 38):
        outputs[step] = speaking(step, "good bye." * (step == 30), step == 30)
    return list(outputs.values())


def test_the_timeline_shows_any_words_and_says_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_timeline(_counting(), tmp_path / "timeline.png")
        plot_timeline([silent(1)], tmp_path / "short.png")
    pixels = _pixels(tmp_path / "timeline.png")
    assert (pixels == (220, 240, 40)).all(2).sum() > 100  # the drawn picture is there


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_drawing_stands_in_the_timeline_where_it_is_whole(tmp_path: Path) -> None:
    """Under the last of the cells that hold its codes."""
    plot_timeline(_counting(), tmp_path / "timeline.png")
    pixels = _pixels(tmp_path / "timeline.png")[60:]  # below the key of colours
    codes, whole = (
        np.flatnonzero((pixels == colour).all(2).any(0))
        for colour in (ImageColor.getrgb(COLOURS["image"]), (220, 240, 40))
    )
    first, last = codes.min(), codes.max()
    assert first + (last - first) / 2 < whole.min() < last


def test_where_both_heads_agree_both_lines_are_seen(tmp_path: Path) -> None:
    plot_timeline([silent(step, no_output=(0.9, 0.9)) for step in range(1, 9)], tmp_path / "t.png")
    plot = _pixels(tmp_path / "t.png")[-170:-75]  # without the key below
    for kind in ("text", "audio"):
        assert (plot == ImageColor.getrgb(COLOURS[kind])).all(2).sum() > 100, kind


def test_the_lines_of_silence_cover_their_steps() -> None:
    for outputs, edges in (
        ([silent(step, no_output=(0.9, 0.1)) for step in (3, 4)], [1.5, 2.0, 2.5]),
        ([], [0.0]),
    ):
        axes = Figure().subplots()
        _draw_silence(axes, outputs, step_width=0.5)
        lines = [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)]
        assert [list(line.edges) for line in lines] == [edges, edges]
        values = [list(line.values) for line in lines]
        assert values == ([[0.9, 0.9], [0.1, 0.1]] if outputs else [[], []])


def _reply(images: int) -> Reply:
    outputs = [speaking(1, "hello.", ended=True), silent(2)]
    return Reply("hello.", np.zeros(18_000, np.float32), [PICTURE] * images, outputs, 1, 1)


def test_a_reply_replaces_the_one_before_it(tmp_path: Path) -> None:
    (tmp_path / "picture-of-me.png").write_bytes(b"mine")
    assert len(_reply(3).save(tmp_path)) == 7
    names = _reply(1).save(tmp_path)
    assert names == ["picture-0.png", "reply.txt", "reply.wav", "stats.json", "timeline.png"]
    assert {path.name for path in tmp_path.iterdir()} == {*names, "picture-of-me.png"}


def test_a_reply_is_saved_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    _reply(2).save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(talk_module, "plot_timeline", fail)
    with pytest.raises(OSError, match="space"):
        _reply(1).save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_a_killed_process_left_goes_with_the_next_reply(tmp_path: Path) -> None:
    old, new = tmp_path / ".reply.old", tmp_path / ".reply.new"
    for folder in (old, new):  # of which another process writes the second just now
        folder.mkdir()
        (folder / "reply.txt").write_text("half")
    os.utime(old, (0, 0))
    _reply(1).save(tmp_path)
    assert not old.exists() and new.exists()
