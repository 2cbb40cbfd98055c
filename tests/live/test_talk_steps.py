"""A session over files, step by step: what comes in when, and when it is over; what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from scripted import ScriptedSession, silent, speaking

from quintet.config import STEP_SAMPLES, UserError
from quintet.live.inputs import as_picture, as_sound, as_text, spoken_part, spoken_spans
from quintet.live.talk import (
    LONGEST_REPLY_STEPS,
    MAX_TEXT,
    QUIET_STEPS,
    _spoken_steps,
    collect,
    talk,
)
from quintet.media.speech import Voice, synthesize

SOUND = np.full(STEP_SAMPLES + 1, 0.1, np.float32)  # two steps
PICTURE = np.zeros((4, 4, 3), np.uint8)


def _talk(script: list, *given: object) -> ScriptedSession:
    session = ScriptedSession(script)
    talk(session, *given)  # type: ignore[arg-type]
    return session


def test_pictures_come_first_then_the_text_then_the_sound() -> None:
    heard = _talk([], SOUND, [PICTURE, PICTURE], "hello.").heard
    assert heard[:7] == [
        (False, False, None), (False, True, None), (False, True, None), (False, False, "hello."),
        (True, False, None), (True, False, None), (False, False, None),
    ]  # fmt: skip


def test_silence_ends_it_and_what_is_said_prolongs_it() -> None:
    assert len(_talk([], SOUND).heard) == 3 + QUIET_STEPS + 1
    for last in (
        speaking(9), silent(9, text="so"), silent(9, image=PICTURE, image_done=True),
    ):  # fmt: skip
        assert len(_talk([last], SOUND).heard) == 9 + QUIET_STEPS
    endless = [speaking(step) for step in range(1, 200)]
    assert len(_talk(endless, SOUND).heard) == 3 + LONGEST_REPLY_STEPS


def test_the_text_is_one_and_has_a_length() -> None:
    with pytest.raises(UserError, match="A text is a string"):
        _talk([], None, None, 5)
    assert _talk([], None, None, "a" * MAX_TEXT).heard[1][2] == "a" * MAX_TEXT
    with pytest.raises(UserError, match=re.escape(f"{MAX_TEXT + 1:,} characters")):
        _talk([], None, None, "a" * (MAX_TEXT + 1))


def test_the_reply_is_on_the_clock_of_its_input() -> None:
    outputs = [
        silent(1),
        speaking(2, "one,"),
        speaking(3, " two.", ended=True),
        silent(4, text="three", image=PICTURE),
        silent(5, image=PICTURE, image_done=True),
    ]
    reply = collect(outputs, input_steps=1, asked_steps=1)
    assert reply.text == "one, two.\nthree" and len(reply.images) == 1
    assert len(reply.audio) == 6 * STEP_SAMPLES  # nothing plays before the first input is over
    loud = np.abs(reply.audio.reshape(6, -1)).max(1) > 0
    assert loud.tolist() == [False, False, True, True, False, False]
    stats = reply.stats
    assert (stats["steps"], stats["input_seconds"], stats["spoken_seconds"]) == (5, 0.25, 0.5)
    assert stats["step_milliseconds_p50"] == stats["step_milliseconds_max"] == 10.0
    assert (stats["first_audio_seconds"], stats["pictures"]) == (0.25, 1)


@pytest.mark.parametrize(
    ("loudness", "spoken"),
    [
        ([0.5, 0.1, 0.02, 0.0], 2),  # under a tenth of the loudest is a pause
        ([0.1, 0.05, 0.03, 0.02, 0.03], 2),  # and under twice a noisy room
        ([0.4, 0.05, 0.03, 0.02, 0.03], 2),
        ([0.1, 0.04, 0.03, 0.03], 1),  # but never over half the loudest
        ([0.0, 0.0], 0),
        ([], 0),
    ],
)
def test_a_recording_ends_with_its_last_word(loudness: list[float], spoken: int) -> None:
    sound = np.repeat(np.array(loudness, np.float32), STEP_SAMPLES)
    assert _spoken_steps(sound) == spoken
    assert _spoken_steps(sound[: len(sound) - 5]) == spoken  # the last step may be short


@pytest.mark.parametrize(("before", "after"), [(0, 0), (9, 1), (2_000, 6_000), (30_000, 50_000)])
def test_silence_around_speech_is_left_out(before: int, after: int) -> None:
    speech = synthesize("what is this?", Voice("en+m8"))
    part = spoken_part(np.pad(speech, (before, after)))
    assert len(part) % STEP_SAMPLES == 0
    loud = np.flatnonzero(np.abs(part) > 1e-4)
    heard = np.flatnonzero(np.abs(speech) > 1e-4)
    assert np.array_equal(part[loud], speech[heard])  # all of it
    assert STEP_SAMPLES <= loud[0] <= 1.3 * STEP_SAMPLES
    assert 0.6 * STEP_SAMPLES < len(part) - loud[-1] < 2.4 * STEP_SAMPLES


def test_where_nothing_is_heard_a_sound_stays_as_it_is() -> None:
    for sound in (np.zeros(0, np.float32), np.zeros(99, np.float32)):
        assert spoken_part(sound) is sound and not spoken_spans(sound)


def test_pauses_between_words_stay() -> None:
    word = 0.3 * np.sin(np.arange(1, 2 * STEP_SAMPLES) / 9).astype(np.float32)
    said = np.concatenate([word, np.zeros(4 * STEP_SAMPLES, np.float32), word])
    part = spoken_part(np.pad(said, (20_000, 20_000)))
    assert len(part) % STEP_SAMPLES == 0
    assert np.array_equal(np.trim_zeros(part), np.trim_zeros(said))


def test_what_is_as_loud_throughout_may_be_a_word() -> None:
    assert spoken_spans(SOUND[:1]) == [(0, 1)]
    part = spoken_part(SOUND)
    assert np.array_equal(part[STEP_SAMPLES:][: len(SOUND)], SOUND)
    assert len(part) % STEP_SAMPLES == 0 and not part[:STEP_SAMPLES].any()
    assert not part[len(SOUND) + STEP_SAMPLES :].any()
    assert STEP_SAMPLES <= len(part) - len(SOUND) - STEP_SAMPLES < 2 * STEP_SAMPLES


@pytest.mark.parametrize(
    ("sound", "says"),
    [
        ([0.0], "not a list"),
        (np.zeros((2, 3), np.float32), "average its channels"),
        (np.zeros(3, np.int16), "divide 16-bit samples"),
        (np.array([0.0, np.nan], np.float32), "finite"),
    ],
)
def test_what_is_no_sound(sound: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        as_sound(sound)
    assert as_sound(np.zeros(3)).dtype == np.float32


@pytest.mark.parametrize(
    "picture",
    [
        "apple.png", np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8),
    ],
)  # fmt: skip
def test_what_is_no_picture(picture: object) -> None:
    with pytest.raises(UserError, match="picture"):
        as_picture(picture)
    for width, height in ((3, 2), (2, 3)):
        assert as_picture(Image.new("L", (width, height), 7)).shape == (height, width, 3)


def test_what_is_no_text() -> None:
    with pytest.raises(UserError, match="not of type int"):
        as_text(5)
    assert as_text("hello.") == "hello."


def test_times_are_the_middle_one_nearly_the_longest_and_the_longest() -> None:
    outputs = [silent(step, seconds=step * 0.00123456) for step in range(1, 102)]
    stats = collect(outputs, 1, 1).stats
    assert stats["step_milliseconds_p50"] == 62.96  # the 51st of 101
    assert stats["step_milliseconds_p99"] == 123.46  # the 100th
    assert stats["step_milliseconds_max"] == 124.69


def test_of_several_utterances_the_first_is_the_answer() -> None:
    outputs = [silent(1), silent(2), speaking(3), silent(4), speaking(5)]
    assert collect(outputs, 1, 1).stats["first_audio_seconds"] == 0.5


def test_nothing_to_answer() -> None:
    for blank in ("", "  \n"):
        with pytest.raises(UserError, match="nothing to answer"):
            _talk([], None, [], blank)
