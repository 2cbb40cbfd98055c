"""Places and buffers are given back, and have their bounds."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import urllib.request
from typing import Any

import numpy as np
import pytest
from fake import FakeModel
from running import RunningServer
from scripted_output import silent, speaking
from talk import Talk
from websockets.sync.client import connect

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.serve import transcripts
from quintet.serve.api.problems import RequestError
from quintet.serve.conductor import Conductor
from quintet.serve.keys import Keys
from quintet.serve.metrics import Metrics
from quintet.serve.protocol import encode_sound
from quintet.serve.realtime import ears
from quintet.serve.realtime.dialogue import EARLY_STEPS
from quintet.serve.realtime.live_api_socket import MAX_APPENDED, LiveApiConnection
from quintet.serve.sockets import Sockets
from quintet.serve.turn_mode import TurnMode

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


@pytest.mark.parametrize(
    ("sessions", "seconds", "refused"),
    [(0, 0.24, None), (1, 0.12, None), (1, 0.13, "busy"), (3, 0.18, None), (3, 0.19, "busy"),
     (4, 0.01, "full")],
)  # fmt: skip
def test_a_machine_that_would_be_too_slow_takes_nobody_more(
    sessions: int, seconds: float, refused: str | None
) -> None:
    """Of steps that take so long with so many, one of one session more must fit into 250 ms."""
    model, metrics = FakeModel(), Metrics(4)
    sockets = Sockets(Conductor(model, 4), TurnMode(model), metrics, Keys())
    metrics.sessions = sessions
    for _ in range(5):
        metrics.record_step(seconds, max(1, sessions))
    refusal = sockets.refusal()
    assert (refusal and refusal[0]) == refused


@pytest.mark.parametrize(
    ("steps", "sessions", "refused"),
    [
        ([(0.14, 8)] * 500, 1, None),  # seven have left, and no step was computed since
        ([(0.14, 8)] * 500 + [(0.01, 1)] * 20, 1, None),
        ([(0.4, 8)] * 500 + [(0.05, 1)] * 20, 1, None),  # it was too slow for eight, not for two
        ([(0.04, 1)] * 500, 4, None),
        ([(0.05, 1)] * 500, 6, "busy"),  # six have just come: no step of theirs is known
        ([(0.05, 1)] * 500 + [(0.1, 6)] * 20, 6, None),  # together they are cheaper than alone
        ([(0.01, 1)] * 500 + [(0.23, 6)] * 20, 6, "busy"),
        ([(0.1, 6), *[(0.03, 1)] * 30] * 20, 6, None),  # one of six is given a file, in haste
        ([(0.1, 6)] * 40 + [(0.9, 6)] * 3, 6, None),  # few steps are no measure
    ],
)
def test_steps_of_so_many_sessions_say_what_one_more_costs(
    steps: list[tuple[float, int]], sessions: int, refused: str | None
) -> None:
    model, metrics = FakeModel(), Metrics(10)
    sockets = Sockets(Conductor(model, 10), TurnMode(model), metrics, Keys())
    metrics.sessions = sessions
    for step in steps:
        metrics.record_step(*step)
    refusal = sockets.refusal()
    assert (refusal and refusal[0]) == refused


def test_a_timeline_holds_the_steps_that_a_late_model_left_out() -> None:
    async def job() -> None:
        model = FakeModel()
        live = LiveApiConnection(None, Conductor(model, 1), Metrics(1), TurnMode(model))  # type: ignore[arg-type]
        live._start({"model": "fake"})
        outputs = iter((speaking("one"), speaking("two")))

        async def ask(*_: Any) -> Any:
            return next(outputs)

        live._ask = ask  # type: ignore[method-assign]
        await live._step(0)
        live.skipped = 3
        await live._step(0)
        told = [json.loads(live.out.get_nowait()[0]) for _ in range(live.out.qsize())]
        sounds = [np.frombuffer(base64.b64decode(e["delta"]), "<i2") for e in told
                  if e["type"] == "session.output_audio.delta"]  # fmt: skip
        assert [len(sound) for sound in sounds] == [STEP_SAMPLES, 4 * STEP_SAMPLES]
        assert not sounds[1][: 3 * STEP_SAMPLES].any() and sounds[1][3 * STEP_SAMPLES :].all()
        words = [e["start_ms"] for e in told if e["type"] == "session.output_transcript.delta"]
        assert words == [250, 1_250]

    asyncio.run(job())


def test_turns_to_write_down_and_texts_to_give_wait_in_bounded_number() -> None:
    class Never(TurnMode):
        async def transcribe(self, sound: np.ndarray) -> str:
            await asyncio.Event().wait()
            raise AssertionError

    async def job() -> None:
        model, failed = FakeModel(), list[str]()
        live = LiveApiConnection(None, Conductor(model, 1), Metrics(1), Never(model))  # type: ignore[arg-type]
        for _ in range(transcripts.WAITING + 2):
            sound = np.zeros(STEP_SAMPLES, np.float32)
            live.transcripts.begin(sound, lambda _: None, failed.append)
        assert failed == ["Too many turns wait to be transcribed."] * 2
        live.transcripts.cancel()
        live._start({"model": "fake"})
        commentary = {"type": "session.commentary.append", "content": "hello"}
        for _ in range(MAX_APPENDED):
            await live._take(commentary)
        with pytest.raises(RequestError, match="Too many texts wait"):
            await live._take(commentary)
        assert len(live.texts) == MAX_APPENDED

    asyncio.run(job())


def test_a_response_has_its_own_tokens_and_no_more() -> None:
    talk = Talk({"turn_detection": None})
    heard = silent().counts | {"audio_in": 5}
    for _ in range(2):
        talk.dialogue.respond({"max_output_tokens": 3}, None)
        talk.step(silent(counts=heard), speaking(), speaking())
        done = talk.last("response.done")["response"]
        assert done["status"] == "incomplete" and done["usage"]["output_tokens"] == 3
        assert done["usage"]["input_tokens"] == 5
        talk.step(*[silent()] * 2)
    talk.step(silent(counts=heard))
    talk.dialogue.respond(None, None)
    talk.step(speaking("hi", ended=True), *[silent()] * 3)
    assert talk.last("response.done")["response"]["usage"]["input_tokens"] == 5


def test_what_gathers_before_a_commit_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "MAX_SECONDS", 2)
    talk = Talk({"turn_detection": None})
    talk.dialogue.ears.append(bytes(2 * 2 * SAMPLE_RATE))
    with pytest.raises(RequestError) as refused:
        talk.dialogue.ears.append(bytes(2))
    assert refused.value.code == "input_audio_buffer_full"
    talk.dialogue.commit()
    talk.dialogue.ears.append(bytes(2))


def test_what_the_model_has_heard_is_not_in_the_buffer_of_who_takes_to_push_to_talk() -> None:
    """However many steps the clock took before, of silence that nobody sent or of speech."""
    for heard in (b"", LOUD * 3):
        talk = Talk()
        talk.dialogue.ears.append(heard)
        talk.step(*[silent()] * 4)
        talk.dialogue.ears.append(LOUD * 2)  # which no step has taken
        talk.dialogue.update({"type": "realtime", "audio": {"input": {"turn_detection": None}}})
        talk.dialogue.commit()
        spoken = talk.dialogue.conversation.items[-1].parts[0].media["audio"]
        assert len(spoken) == len(LOUD * 2)
        with pytest.raises(RequestError) as refused:
            talk.dialogue.commit()
        assert refused.value.code == "input_audio_buffer_commit_empty"


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
