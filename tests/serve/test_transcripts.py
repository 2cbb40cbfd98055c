"""What a person says is written down beside the live session, which it does not delay."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from fake import FakeModel
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession
from test_live import error, next_event, of_type

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.serve import create_app, transcripts
from quintet.serve.conductor import Conductor
from quintet.serve.protocol import LONGEST
from quintet.serve.transcripts import LastSound, Transcripts
from quintet.serve.turn_mode import BusyError, TurnMode


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def live(model: FakeModel) -> Iterator[WebSocketTestSession]:
    app = create_app(model, max_sessions=1)
    with TestClient(app) as client, client.websocket_connect("/live") as live:
        assert live.receive_json()["limits"]["transcript"] == LONGEST
        yield live


def ask(live: WebSocketTestSession, number: object, seconds: object) -> None:
    live.send_text(json.dumps({"type": "transcribe", "id": number, "seconds": seconds}))


def test_the_last_sound_is_written_down(live: WebSocketTestSession, model: FakeModel) -> None:
    for value in (1, 2, 3, 4):
        live.send_bytes(np.full(STEP_SAMPLES, 1_000 * value, "<i2").tobytes())
    ask(live, 7, 0.5)
    told = next_event(live, of_type("transcript"))
    assert told == {"type": "transcript", "id": 7, "text": "you gave transcribe this. 0.50 s"}
    sound = model.chats[0][0]["content"][1]
    np.testing.assert_allclose(sound, np.repeat([3_000, 4_000], STEP_SAMPLES) / 32_768)
    ask(live, 8, 30)  # more than there is
    assert next_event(live, of_type("transcript"))["text"] == "you gave transcribe this. 1.00 s"


def test_of_a_new_conversation_nothing_old_is_written_down(live: WebSocketTestSession) -> None:
    live.send_bytes(np.full(STEP_SAMPLES, 9_000, "<i2").tobytes())
    live.send_text(json.dumps({"type": "reset"}))
    ask(live, 0, 1)
    assert next_event(live, of_type("transcript")) == {"type": "transcript", "id": 0, "text": ""}


@pytest.mark.parametrize("number", [-1, True, 1.5, "1", None, 2**53])
def test_an_id_is_a_whole_number(live: WebSocketTestSession, number: object) -> None:
    ask(live, number, 1)
    assert "whole number" in error(live)


@pytest.mark.parametrize("seconds", [0, -1, 30.1, float("nan"), "1", None, True])
def test_so_much_sound_and_no_more_is_written_down(
    live: WebSocketTestSession, seconds: object
) -> None:
    ask(live, 1, seconds)
    assert "30 at most" in error(live)


def test_the_last_half_minute_is_kept_however_it_came() -> None:
    rng, last = np.random.default_rng(0), LastSound()
    sound = rng.integers(-9_000, 9_000, 40 * SAMPLE_RATE).astype("<i2")
    for piece in np.split(sound, sorted(rng.integers(0, len(sound), 300))):
        last.push(piece.tobytes())
    kept = last.last(99)
    np.testing.assert_array_equal(kept, sound[-30 * SAMPLE_RATE :].astype(np.float32) / 32_768)
    np.testing.assert_array_equal(last.last(0.01), kept[-240:])


def test_a_failure_is_told_and_nothing_ends(
    live: WebSocketTestSession, monkeypatch: pytest.MonkeyPatch, model: FakeModel
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(model, "chat", broken)
    live.send_bytes(np.ones(STEP_SAMPLES, "<i2").tobytes())
    ask(live, 1, 1)
    told = next_event(live, of_type("transcript"))
    assert told["text"] is None and told["message"] == "The model failed."
    assert next_event(live, of_type("step"))["step"] > 0


def test_a_busy_server_says_so_and_who_cancels_is_told_nothing() -> None:
    class Busy(TurnMode):
        async def transcribe(self, sound: np.ndarray) -> str:
            await asyncio.sleep(0)
            raise BusyError

    async def job() -> None:
        made, told = Transcripts(Busy(FakeModel())), list[str]()
        for cancelled in (False, True):
            made.begin(np.zeros(STEP_SAMPLES, np.float32), told.append, told.append)
            await asyncio.sleep(0)
            if cancelled:
                made.cancel()
            while made.waiting:
                await asyncio.sleep(0.01)
        assert told == ["The server is busy."]
        made.turns.close()

    asyncio.run(job())


def test_an_answer_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Asked(TurnMode):
        async def transcribe(self, sound: np.ndarray) -> str:
            asked.append(len(sound))
            return "so"

    async def job(head_start: float) -> None:
        monkeypatch.setattr(transcripts, "HEAD_START", head_start)
        made = Transcripts(Asked(FakeModel()))
        made.begin(np.zeros(STEP_SAMPLES, np.float32), lambda _: None, lambda _: None)
        for _ in range(5):
            await asyncio.sleep(0)
        made.cancel()
        made.turns.close()

    for head_start, begun in ((60.0, []), (0.0, [STEP_SAMPLES])):
        asyncio.run(job(head_start))
        assert asked == begun


def test_turn_mode_waits_while_a_step_is_computed() -> None:
    """Row by row: nothing is computed beside a step but the row that was begun before it."""
    begun, go_on, rows = threading.Event(), threading.Event(), list[bool]()

    class Slow(FakeModel):
        def chat(self, *values: object, **named: object) -> object:  # type: ignore[override]
            for _ in range(3):
                named["pause"]()  # type: ignore[operator]
                rows.append(go_on.is_set())
            return super().chat([{"role": "user", "content": "hi"}])

    async def job() -> None:
        model = Slow()
        conductor = Conductor(model, 1)
        turns = TurnMode(model, conductor.give_way)
        seat = await conductor.join()
        inside = conductor._need_engine()
        step = inside.step

        def long_step(given: object) -> object:
            begun.set()
            go_on.wait(10)
            return step(given)  # type: ignore[arg-type]

        inside.step = long_step  # type: ignore[method-assign, assignment]
        stepping = asyncio.create_task(
            conductor.step(seat, np.zeros(STEP_SAMPLES, np.float32), None, None)
        )
        await asyncio.to_thread(begun.wait, 10)
        writing = asyncio.create_task(turns.chat([{"role": "user", "content": "hi"}]))
        await asyncio.sleep(0.05)
        assert rows == []
        go_on.set()
        await asyncio.gather(stepping, writing)
        assert rows == [True] * 3
        conductor.close()
        turns.close()

    asyncio.run(job())
