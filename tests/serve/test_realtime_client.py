"""An unmodified `openai` client on the Realtime API: over a real socket, on a faster clock."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai_types import check_event
from PIL import Image
from running import RunningServer
from talker import TalkingModel
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from quintet.config import STEP_SAMPLES, UserError
from quintet.serve import connection
from quintet.serve.api import frames
from quintet.serve.keys import Keys
from quintet.serve.protocol import encode_sound
from quintet.serve.realtime import api_socket

KEY = "a-key-of-sixteen-and-more"
LOUD = encode_sound(0.3 * np.sin(np.arange(STEP_SAMPLES) / 9).astype(np.float32))
SPEECH = base64.b64encode(LOUD * 4).decode()
SILENCE = base64.b64encode(bytes(len(LOUD) * 4)).decode()


@pytest.fixture
def model() -> TalkingModel:
    return TalkingModel()


@pytest.fixture
def server(model: TalkingModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setattr(connection, "STEP_SECONDS", 0.02)
    server = RunningServer(model, max_sessions=2, keys=Keys([KEY]))
    yield server
    server.stop()


class Client:
    """A connection that checks and remembers every event."""

    def __init__(self, live: AsyncRealtimeConnection) -> None:
        self.live = live
        self.events: list[Any] = []

    async def until(self, kind: str) -> Any:
        """The next event of that type; everything before it is kept in `events`."""
        async with asyncio.timeout(10):
            while True:
                frame = await self.live.recv_bytes()
                check_event(json.loads(frame))
                event = self.live.parse_event(frame)
                self.events.append(event)
                if event.type == kind:
                    return event

    def kinds(self) -> list[str]:
        return [event.type for event in self.events]

    async def update(self, **session: Any) -> None:
        await self.live.session.update(session={"type": "realtime"} | session)  # type: ignore[misc]
        await self.until("session.updated")

    async def say(self, sound: str = SPEECH) -> None:
        await self.live.input_audio_buffer.append(audio=sound)

    async def write(self, *parts: dict[str, Any]) -> None:
        item = {"type": "message", "role": "user", "content": list(parts)}
        await self.live.conversation.item.create(item=item)  # type: ignore[arg-type]
        await self.live.response.create()


def text(words: str) -> dict[str, Any]:
    return {"type": "input_text", "text": words}


def talk(server: RunningServer, job: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    """Run `job` in a session of the client of that name."""

    async def run() -> None:
        async with (
            AsyncOpenAI(api_key=KEY, base_url=server.address + "v1") as client,
            client.realtime.connect(model="fake") as live,
        ):
            talking = Client(live)
            created = await talking.until("session.created")
            assert created.session.audio.input.turn_detection.type == "server_vad"
            await job(talking)

    asyncio.run(run())


def test_two_spoken_turns(server: RunningServer) -> None:
    async def job(client: Client) -> None:
        for loud in (4, 4):
            client.events.clear()
            await client.say()
            await client.say(SILENCE)
            done = await client.until("response.done")
            assert done.response.output[0].content[0].transcript == f"I heard {loud}"
            assert done.response.status == "completed"
            kinds = client.kinds()
            assert kinds[:5] == [
                "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed", "conversation.item.added",
                "conversation.item.done",
            ]  # fmt: skip
            assert kinds.count("response.output_audio.delta") == 8

    talk(server, job)


def test_barge_in(server: RunningServer) -> None:
    async def job(client: Client) -> None:
        await client.update(audio={"input": {"turn_detection": {"type": "semantic_vad"}}})
        await client.say()
        await client.say(base64.b64encode(bytes(len(LOUD) * 3)).decode())
        await client.until("response.output_audio.delta")
        await client.say()
        await client.until("input_audio_buffer.speech_started")
        done = await client.until("response.done")
        assert done.response.status_details.reason == "turn_detected"
        item = done.response.output[0]
        await client.live.conversation.item.truncate(
            item_id=item.id, content_index=0, audio_end_ms=10**6
        )
        cut = await client.until("conversation.item.truncated")
        assert cut.audio_end_ms % 250 == 0
        after = client.kinds()[client.kinds().index("input_audio_buffer.speech_started", 12) :]
        assert "response.output_audio.delta" not in after
        await client.say(SILENCE)
        again = await client.until("response.done")
        assert again.response.status == "completed"

    talk(server, job)


def test_a_picture_is_seen_and_text_alone_answers(
    server: RunningServer, model: TalkingModel
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

    async def job(client: Client) -> None:
        await client.update(output_modalities=["text"], audio={"input": {"turn_detection": None}})
        await client.write({"type": "input_image", "image_url": url})
        done = await client.until("response.done")
        assert done.response.output[0].content[0].text == "I see it."
        await client.write(text("hello"))
        assert (await client.until("response.output_text.done")).text == "you wrote hello"
        assert "response.output_audio.delta" not in client.kinds()

    talk(server, job)
    seen = next(image for _, image, _ in model.heard if image is not None)
    assert seen.shape == (30, 40, 3) and (seen[0, 0] == (255, 0, 0)).all()


def test_cancelling_and_asking_twice(server: RunningServer) -> None:
    async def job(client: Client) -> None:
        await client.live.response.create()
        await client.until("response.created")
        await client.live.response.create(event_id="mine")
        refused = await client.until("error")
        assert refused.error.code == "conversation_already_has_active_response"
        assert refused.error.event_id == "mine"
        await client.live.response.cancel()
        assert (await client.until("response.done")).response.status == "cancelled"
        await client.live.response.cancel()
        assert (await client.until("error")).error.code == "response_cancel_not_active"

    talk(server, job)


def test_push_to_talk_with_a_transcript(server: RunningServer) -> None:
    async def job(client: Client) -> None:
        audio = {"turn_detection": None, "transcription": {"model": "whisper-1"}}
        await client.update(audio={"input": audio})
        await client.live.input_audio_buffer.commit()
        assert (await client.until("error")).error.code == "input_audio_buffer_commit_empty"
        await client.say()
        await client.live.input_audio_buffer.commit()
        committed = await client.until("input_audio_buffer.committed")
        kind = "conversation.item.input_audio_transcription.completed"
        written = await client.until(kind)
        assert written.item_id == committed.item_id
        assert written.transcript == "you gave transcribe this. 1.00 s"
        await client.live.response.create()
        done = await client.until("response.done")
        assert done.response.output[0].content[0].transcript == "I heard 4"
        await client.live.conversation.item.retrieve(item_id=committed.item_id)
        item = (await client.until("conversation.item.retrieved")).item
        spoken = np.frombuffer(base64.b64decode(item.content[0].audio), "<i2").astype(int)
        assert np.abs(spoken - np.frombuffer(LOUD * 4, "<i2")).max() <= 1

    talk(server, job)


def test_what_is_wrong_is_told_and_the_session_goes_on(server: RunningServer) -> None:
    bad = [
        ('{"type": "session.update", "session": {"type": "realtime", "colour": 1}}',
         "unknown_parameter", "session.colour"),
        ('{"type": "session.update", "session": {"type": "realtime", "audio": {"input": '
         '{"turn_detection": {"type": "server_vad", "loudness": 1}}}}}',
         "unknown_parameter", "session.audio.input.turn_detection.loudness"),
        ('{"type": "session.update", "session": {}}', "missing_parameter", "session.type"),
        ('{"type": "session.update", "session": {"type": "realtime", "tool_choice": "required"}}',
         "unsupported_tool_choice", "session.tool_choice"),
        ('{"type": "conversation.item.create", "item": {"type": "message", "role": "user", '
         '"content": [{"type": "input_image", "image_url": "http://10.0.0.1/x.png"}]}}',
         "invalid_image", "item.content.0.image_url"),
        ('{"type": "session.update", "session": {"type": "realtime", "tools": [{"type": 104}]}}',
         "invalid_value", "session.tools.0"),
        ('{"type": "session.update", "session": {"type": "realtime", "audio": {"input": '
         '{"noise_reduction": {"type": "loud"}}}}}',
         "invalid_value", "session.audio.input.noise_reduction.type"),
        ('{"type": "conversation.item.create", "item": 5}', "invalid_value", "item"),
        ('{"type": "input_audio_buffer.append", "audio": "?"}', "invalid_audio", "audio"),
        ('{"type": "nothing.like.it"}', "invalid_value", "type"),
        ("[" * 100_000, "invalid_json", None),
        ('{"type": "response.create", "response": ' + '{"a":' * 100 + "1" + "}" * 101,
         "invalid_json", None),
        ("[" + "{}," * 100_000 + "{}]", "invalid_json", None),
        ("[]", "missing_parameter", "type"),
    ]  # fmt: skip

    async def job(client: Client) -> None:
        for frame, code, param in bad:
            await client.live.send_raw(frame)
            error = (await client.until("error")).error
            assert (error.code, error.param) == (code, param)
        await client.live.send_raw(b"binary")
        assert (await client.until("error")).error.code == "invalid_event"
        await client.update(
            instructions="still here",
            tracing="auto",
            prompt={"id": "p"},
            include=None,
            audio={
                "input": {"noise_reduction": {"type": "near_field"}},
                "output": {"speed": 1.2, "voice": "marin"},
            },
        )
        session = client.events[-1].session
        assert session.instructions == "still here" and session.audio.output.voice == "marin"
        assert session.audio.input.turn_detection.type == "server_vad"

    talk(server, job)


def test_a_tool_server_s_credentials_are_not_told(server: RunningServer) -> None:
    async def job(client: Client) -> None:
        tool = {
            "type": "mcp",
            "server_label": "a",
            "authorization": "hidden",
            "headers": {"a": "b"},
        }
        await client.update(tools=[tool, {"type": "function", "name": "f", "strict": True}])
        told = client.events[-1].session.tools
        assert told[0].authorization is None and told[0].headers is None
        assert told[1].name == "f"

    talk(server, job)


def test_keys_and_places_are_asked_for_at_the_handshake(server: RunningServer) -> None:
    address = server.address.replace("http", "ws")

    def status(path: str, **options: Any) -> int:
        with pytest.raises(InvalidStatus) as refused:
            connect(address + path, **options)
        body = json.loads(refused.value.response.body)
        assert body["error"]["message"]
        return refused.value.response.status_code

    for path in ("v1/realtime?model=fake", "v1/live/sessions", "live"):
        assert status(path) == 401
        assert status(path, additional_headers={"Authorization": "Bearer wrong"}) == 401
    good = {"Authorization": f"Bearer {KEY}"}
    offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
    with connect(address + "v1/realtime", subprotocols=offered) as browser:  # type: ignore[arg-type]
        assert browser.subprotocol == "realtime"
        assert json.loads(browser.recv(timeout=5))["type"] == "session.created"
        with connect(address + "v1/live/sessions", additional_headers=good):
            assert status("v1/realtime", additional_headers=good) == 503
    with pytest.raises(InvalidStatus) as foreign:
        connect(address + "v1/realtime", additional_headers=good, origin="https://evil.example")  # type: ignore[arg-type]
    assert foreign.value.response.status_code == 403


def test_the_beta_form_is_told_to_go(server: RunningServer) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": "realtime=v1"}
    address = server.address.replace("http", "ws") + "v1/realtime"
    with connect(address, additional_headers=headers) as old:
        assert json.loads(old.recv(timeout=5))["error"]["code"] == "beta_api_shape_disabled"
        with pytest.raises(ConnectionClosed) as closed:
            old.recv(timeout=5)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 4000


def test_who_reads_too_slowly_or_errs_too_often_is_sent_away(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {"Authorization": f"Bearer {KEY}"}
    address = server.address.replace("http", "ws") + "v1/realtime"
    with connect(address, additional_headers=good) as bad:
        for _ in range(25):
            bad.send("{")
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                bad.recv(timeout=5)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    with connect(address, additional_headers=good) as slow:
        assert json.loads(slow.recv(timeout=5))["type"] == "session.created"
        monkeypatch.setattr(api_socket, "QUEUED_CHARACTERS", 10)
        slow.send('{"type": "input_audio_buffer.clear"}')
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                slow.recv(timeout=5)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013


def test_a_flood_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def flood() -> None:
        monkeypatch.setattr(frames.asyncio, "sleep", sleep)
        pace = frames.Pace()
        for _ in range(frames.FRAMES_AT_ONCE):
            await pace.take({"text": "{}"})
        assert not waited
        for _ in range(20):
            await pace.take({"text": "{}"})
        assert waited

    asyncio.run(flood())


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{KEY}\n  another-key-as-long\n")
    keys = Keys.read(file)
    assert keys.allow(f"Bearer {KEY}") and keys.allow("bearer another-key-as-long")
    assert not keys.allow(f"Basic {KEY}") and not keys.allow(None) and not keys.allow("Bearer ")
    assert Keys().allow(None)
    for content, sentence in (
        ("# none", "holds no key"),
        ("short", "can be guessed"),
        ("a key with spaces", "characters"),
    ):
        file.write_text(content)
        with pytest.raises(UserError, match=sentence):
            Keys.read(file)
    with pytest.raises(UserError, match="no file of keys"):
        Keys.read(tmp_path / "nothing")
