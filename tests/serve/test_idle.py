"""The idle timeout: after a long silence of both, the model has a turn without being asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scripted_output import silent, speaking
from talk import Talk

from quintet.config import STEP_SAMPLES
from quintet.serve.api.problems import RequestError
from quintet.serve.protocol import encode_sound

LOUD = encode_sound(0.3 * np.sin(np.arange(STEP_SAMPLES) / 9).astype(np.float32))
STILL = encode_sound(np.zeros(STEP_SAMPLES, np.float32))
TRIGGERED = "input_audio_buffer.timeout_triggered"
STEPS = 20  # five seconds


def idle(**vad: Any) -> Talk:
    return Talk(input={"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5_000} | vad})


def test_a_long_silence_is_a_turn_and_a_response_begins() -> None:
    talk = idle()
    talk.hear(*[STILL] * (STEPS + 1))
    assert talk.kinds()[:5] == [
        TRIGGERED, "input_audio_buffer.committed", "conversation.item.added",
        "conversation.item.done", "response.created",
    ]  # fmt: skip
    triggered = talk.events[0]
    assert 4_500 <= triggered["audio_end_ms"] - triggered["audio_start_ms"] <= 5_000
    item = talk.dialogue.conversation.items[0]
    assert item.id == triggered["item_id"] == talk.events[1]["item_id"]
    assert 4.5 < len(item.parts[0].media["audio"]) / 48_000 <= 5.25
    talk.step(speaking("are you there?", ended=True), silent(), silent())
    assert talk.last("response.done")["response"]["status"] == "completed"


def test_speech_and_responses_put_it_off() -> None:
    talk = idle()
    for _ in range(3):
        talk.hear(*[STILL] * 12, *[LOUD] * 4)
    assert TRIGGERED not in talk.kinds()
    talk.step(*[silent()] * 4, speaking("hi", ended=True), silent(), silent())
    assert talk.kinds()[-1] == "response.done"
    talk.step(*[silent()] * (STEPS - 1))
    assert TRIGGERED not in talk.kinds()
    talk.step(silent())
    assert talk.kinds().count(TRIGGERED) == 1


def test_it_counts_from_the_end_of_what_the_client_plays() -> None:
    talk = idle(create_response=False)
    talk.step(*[speaking("a long answer")] * 10)
    talk.dialogue.respond(None, None)  # ten steps of sound at once
    talk.step(*[silent()] * 4)
    assert talk.kinds()[-1] == "response.done"
    talk.events.clear()
    talk.step(*[silent()] * (STEPS + 5))
    assert TRIGGERED not in talk.kinds()
    talk.step(*[silent()] * 3)
    assert talk.kinds() == [TRIGGERED, "input_audio_buffer.committed", "conversation.item.added",
                            "conversation.item.done"]  # fmt: skip


def test_the_next_turn_keeps_no_more_than_its_prefix_of_the_silence() -> None:
    talk = idle(create_response=False)
    talk.hear(*[STILL] * (STEPS - 2), *[LOUD] * 4, *[STILL] * 4)
    item = talk.dialogue.conversation.items[0]
    assert 1.3 < len(item.parts[0].media["audio"]) / 48_000 < 2.5


def test_without_it_silence_stays_silence() -> None:
    for talk in (Talk(), Talk(input={"turn_detection": {"type": "semantic_vad"}})):
        talk.hear(*[STILL] * 130)
        assert not talk.events


@pytest.mark.parametrize("wrong", [0, 4_999, 30_001, "5000 ms"])
def test_it_lasts_from_five_to_thirty_seconds(wrong: Any) -> None:
    with pytest.raises(RequestError, match="idle_timeout_ms"):
        idle(idle_timeout_ms=wrong)
