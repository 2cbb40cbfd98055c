"""After a response is cancelled nothing of it may still be sent, whatever waits in the queue."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fake import FakeModel
from scripted_output import silent, speaking

from quintet.serve.conductor import Conductor
from quintet.serve.connection import ClosingError
from quintet.serve.metrics import Metrics
from quintet.serve.realtime.api_socket import QUEUED
from quintet.serve.realtime.realtime_socket import RealtimeConnection
from quintet.serve.realtime.response import DELTAS
from quintet.serve.turn_mode import TurnMode


class _Socket:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send_text(self, text: str) -> None:
        self.sent.append(json.loads(text))


def connection() -> tuple[RealtimeConnection, _Socket]:
    model, socket = FakeModel(), _Socket()
    conductor, turns = Conductor(model, 1), TurnMode(model)
    return RealtimeConnection(socket, conductor, Metrics(1), turns), socket  # type: ignore[arg-type]


async def _drain(live: RealtimeConnection) -> None:
    while not live.out.empty():
        await live._transmit(live.out.get_nowait())


def test_what_waits_of_a_cancelled_response_is_not_sent() -> None:
    async def job() -> None:
        live, socket = connection()
        live.dialogue.respond(None, None)
        live.dialogue.answered(speaking("one"))
        await _drain(live)  # this much the client got in time
        assert {event["type"] for event in socket.sent} & set(DELTAS)
        socket.sent.clear()
        live.dialogue.answered(speaking("two"))
        live.dialogue.answered(speaking("three"))
        await live._take({"type": "response.cancel"})
        live.dialogue.answered(silent())
        live.dialogue.respond(None, None)
        live.dialogue.answered(speaking("four", ended=True))
        await _drain(live)
        kinds = [event["type"] for event in socket.sent]
        old, new = kinds[: kinds.index("response.done")], kinds[kinds.index("response.done") :]
        assert not set(old) & set(DELTAS)
        assert "response.output_audio.delta" in new
        assert live._characters == 0

    asyncio.run(job())


def test_a_reader_that_never_reads_is_sent_away() -> None:
    async def job() -> None:
        live, _ = connection()
        with pytest.raises(ClosingError) as closed:
            for _ in range(QUEUED + 1):
                await live._take({"type": "input_audio_buffer.clear"})
        assert closed.value.code == 1013

    asyncio.run(job())
