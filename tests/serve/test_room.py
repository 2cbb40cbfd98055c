"""Places and buffers are given back, and have their bounds."""

from __future__ import annotations

import json
import time
import urllib.request

import numpy as np
import pytest
from fake import FakeModel
from running import RunningServer
from scripted_output import silent, speaking
from talk import Talk
from websockets.sync.client import connect

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.serve.protocol import encode_sound
from quintet.serve.realtime import ears
from quintet.serve.realtime.dialogue import EARLY_STEPS
from quintet.serve.realtime.problems import RequestError

LOUD = encode_sound(0.3 * np.sin(np.arange(STEP_SAMPLES) / 9).astype(np.float32))
QUIET = bytes(2 * STEP_SAMPLES)


def test_the_only_place_serves_one_after_another() -> None:
    server = RunningServer(FakeModel(), max_sessions=1)
    try:
        for _ in range(3):
            with connect(server.address.replace("http", "ws") + "live") as live:
                assert json.loads(live.recv(timeout=5))["type"] == "hello"
            end = time.monotonic() + 10
            while _sessions(server) > 0:
                assert time.monotonic() < end, "the place was not given back"
                time.sleep(0.02)
    finally:
        server.stop()


def _sessions(server: RunningServer) -> float:
    with urllib.request.urlopen(server.address + "metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("quintet_sessions ")).split()[1])


def test_what_gathers_before_a_commit_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "MAX_SECONDS", 2)
    talk = Talk({"turn_detection": None})
    talk.dialogue.ears.append(bytes(2 * 2 * SAMPLE_RATE))
    with pytest.raises(RequestError) as refused:
        talk.dialogue.ears.append(bytes(2))
    assert refused.value.code == "input_audio_buffer_full"
    talk.dialogue.commit()
    talk.dialogue.ears.append(bytes(2))


@pytest.mark.parametrize(("early", "answers"), [(EARLY_STEPS - 1, True), (EARLY_STEPS + 3, False)])
def test_an_answer_that_began_long_before_the_end_of_a_turn_is_none_to_it(
    early: int, answers: bool
) -> None:
    """It answers what had been said by then, and the user went on."""
    talk = Talk()
    talk.dialogue.ears.append(LOUD * 20 + QUIET * 4)
    talk.step(*[silent()] * (22 - early), speaking("hi", ended=True), *[silent()] * (early + 3))
    assert "input_audio_buffer.committed" in talk.kinds()
    assert ("response.created" in talk.kinds()) == answers
