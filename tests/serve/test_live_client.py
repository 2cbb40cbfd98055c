"""An unmodified `openai` client on the Live API; and both APIs with the bundled model."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.resources.live.live import AsyncLiveConnection
from openai_types import LIVE, check_event
from running import RunningServer
from talker import ANSWER_STEPS, TalkingModel
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from quintet.config import STEP_SAMPLES
from quintet.live import load
from quintet.serve import connection
from quintet.serve.protocol import encode_sound
from quintet.serve.realtime import live_api_socket

LOUD = encode_sound(0.3 * np.sin(np.arange(STEP_SAMPLES) / 9).astype(np.float32))
SPEECH = base64.b64encode(LOUD * 4).decode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setattr(connection, "STEP_SECONDS", 0.02)
    server = RunningServer(TalkingModel())
    yield server
    server.stop()


class Client:
    """A connection that checks and remembers every event."""

    def __init__(self, live: AsyncLiveConnection) -> None:
        self.live = live
        self.events: list[dict[str, Any]] = []
        self.told: Counter[str] = Counter()  # events of a type that `until` gave already

    async def until(self, kind: str, seconds: float = 10) -> dict[str, Any]:
        """The next event of that type; the others keep."""
        self.told[kind] += 1
        async with asyncio.timeout(seconds):
            while True:
                found = [event for event in self.events if event["type"] == kind]
                if len(found) >= self.told[kind]:
                    return found[self.told[kind] - 1]
                event = json.loads(await self.live.recv_bytes())
                check_event(event, LIVE)
                self.events.append(event)

    def sound(self) -> np.ndarray:
        """What was said so far: PCM16."""
        deltas = [e["delta"] for e in self.events if e["type"] == "session.output_audio.delta"]
        return np.frombuffer(b"".join(map(base64.b64decode, deltas)), "<i2")


@asynccontextmanager
async def connected(server: RunningServer) -> AsyncIterator[tuple[AsyncLiveConnection, Client]]:
    async with (
        AsyncOpenAI(api_key="any", base_url=server.address + "v1") as openai,
        openai.live.connect() as live,
    ):
        yield live, Client(live)


def test_a_session_without_turns(server: RunningServer) -> None:
    async def run() -> None:
        async with connected(server) as (live, client):
            await live.session.start(session={"model": "fake"}, event_id="mine")
            started = await client.until("session.started")
            assert started["client_event_id"] == "mine"
            assert started["session"]["audio"]["format"] == {"type": "audio/pcm", "rate": 24_000}
            await live.session.input_audio.append(audio=SPEECH)
            said = await client.until("session.output_transcript.delta")
            assert said["delta"] == "I heard 4" and said["end_ms"] - said["start_ms"] == 250
            heard = await client.until("session.input_transcript.delta")
            assert heard["delta"].startswith("you gave transcribe this.")
            assert 0 <= heard["start_ms"] < heard["end_ms"] <= said["end_ms"] + 1_000
            await live.session.commentary.append(content="hello", delegation_id=None)
            appended = await client.until("session.commentary.appended")
            assert appended["start_ms"] >= said["start_ms"]
            again = await client.until("session.output_transcript.delta")
            assert again["delta"] == "you wrote hello"
            for _ in range(4 * ANSWER_STEPS):
                await client.until("session.output_audio.delta")
            sound = client.sound()  # without a break, of the length that the clock says
            assert len(sound) % STEP_SAMPLES == 0
            assert sound.any() and not sound[: 4 * STEP_SAMPLES].any()
            await live.session.close()
            closed = await client.until("session.closed")
            assert closed["reason"] == "close_requested"
            assert closed["usage"]["seconds"] >= len(client.sound()) / 24_000
            with pytest.raises(ConnectionClosed):
                await client.until("session.started")

    asyncio.run(run())


def test_mute_update_and_what_is_refused(server: RunningServer) -> None:
    async def run() -> None:
        async with connected(server) as (live, client):

            async def refused(frame: dict[str, Any]) -> str:
                await live.send_raw(json.dumps(frame | {"event_id": "mine"}))
                error = (await client.until("error"))["error"]
                assert error["client_event_id"] == "mine"
                return error["code"]

            start = {"type": "session.start"}
            assert await refused({"type": "session.close"}) == "session_not_started"
            assert await refused(start) == "missing_parameter"
            assert await refused(start | {"session": {"model": "x", "a": 1}}) == "unknown_parameter"
            delegation = {"type": "responses", "responses": {"model": "x"}}
            session = {"model": "x", "delegation": delegation}
            assert await refused(start | {"session": session}) == "unsupported_delegation"
            audio = {"format": {"type": "audio/pcmu", "rate": 8_000}}
            delegation = {"type": "client"}
            await live.session.start(
                session={"model": "x", "audio": audio, "delegation": delegation}
            )  # type: ignore[typeddict-item]
            await client.until("session.started")
            assert await refused(start | {"session": {"model": "x"}}) == "session_already_started"
            update = {"type": "session.update", "session": {"instructions": "x"}}
            assert await refused(update) == "unknown_parameter"
            await live.session.update(session={"delegation": None})
            assert (await client.until("session.updated"))["session"]["delegation"] is None
            delta = (await client.until("session.output_audio.delta"))["delta"]
            data = base64.b64decode(delta)
            assert 1_000 < len(data) <= 2_000 and set(data) == {0xFF}
            await live.session.input_audio.mute()
            await client.until("session.input_audio.muted")
            await live.session.input_audio.append(
                audio=base64.b64encode(b"\x00\x80" * 4_000).decode()
            )
            for _ in range(12):
                await client.until("session.output_audio.delta")
            assert "session.output_transcript.delta" not in [e["type"] for e in client.events]
            await live.session.input_audio.unmute()
            await client.until("session.input_audio.unmuted")
            assert await refused({"type": "decision.create"}) == "invalid_value"

    asyncio.run(run())


def test_a_session_must_be_started_and_ends_in_time(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_api_socket, "START_SECONDS", 0.1)
    address = server.address.replace("http", "ws") + "v1/live/sessions"
    with connect(address) as idle, pytest.raises(ConnectionClosed) as closed:
        while True:
            idle.recv(timeout=5)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    monkeypatch.setattr(live_api_socket, "LONGEST_SESSION", 0)
    with connect(address) as live:
        live.send('{"type": "session.start", "session": {"model": "x"}}')
        events = [json.loads(frame) for frame in live]
        assert events[-1]["type"] == "session.closed" and events[-1]["reason"] == "expired"
        assert live.close_code == 1001


@pytest.fixture(scope="module")
def nano() -> Iterator[RunningServer]:
    server = RunningServer(load("nano"))
    yield server
    server.stop()


def test_the_bundled_model_answers_a_realtime_client(nano: RunningServer) -> None:
    async def run() -> None:
        async with (
            AsyncOpenAI(api_key="any", base_url=nano.address + "v1") as openai,
            openai.realtime.connect(model="nano") as live,
        ):
            session = {"type": "realtime", "quintet": {"images": True}}
            await live.send_raw(json.dumps({"type": "session.update", "session": session}))
            words = {"type": "input_text", "text": "draw a cat."}
            item = {"type": "message", "role": "user", "content": [words]}
            await live.conversation.item.create(item=item)  # type: ignore[arg-type]
            await live.response.create()
            kinds: list[str] = []
            sound = b""
            async with asyncio.timeout(30):
                while "response.done" not in kinds:
                    event = json.loads(await live.recv_bytes())
                    check_event(event)
                    kinds.append(event["type"])
                    if event["type"] == "response.output_audio.delta":
                        sound += base64.b64decode(event["delta"])
        assert event["response"]["output"][0]["content"][0]["transcript"] == "Here is a cat."
        assert "response.output_image.done" in kinds
        assert len(sound) > 24_000 and np.frombuffer(sound, "<i2").std() > 300

    asyncio.run(run())


def test_the_bundled_model_speaks_to_a_live_client(nano: RunningServer) -> None:
    async def run() -> None:
        async with connected(nano) as (live, client):
            await live.session.start(session={"model": "nano"})
            await client.until("session.started")
            await live.session.commentary.append(content="say banana.", delegation_id=None)
            said = await client.until("session.output_transcript.delta", seconds=30)
            assert said["delta"] == "Banana."
            for _ in range(3):
                await client.until("session.output_audio.delta")
            assert client.sound().std() > 300

    asyncio.run(run())
