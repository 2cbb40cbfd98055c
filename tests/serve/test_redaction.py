"""Neither what people say nor their keys reach the log: at any level, also when things fail."""

from __future__ import annotations

import base64
import io
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake import FakeModel, FakeSession
from openai import OpenAI
from PIL import Image
from running import RunningServer
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from quintet.live.session import StepOutput
from quintet.live.turns import TurnReply
from quintet.serve import connection
from quintet.serve.keys import Keys

KEY = "the-key-that-nobody-may-see"
WORDS = "zebra crossing"
CLIENTS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "websockets")  # of the test
LOGGERS = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "PIL")


class _Session(FakeSession):
    def step(self, audio: Any, image: Any = None, text: str | None = None) -> StepOutput:
        if text and "crash" in text:
            raise RuntimeError(f"broken on {text}")
        return super().step(audio, image, text)


class _Model(FakeModel):
    """Its exceptions quote what it was told."""

    def session(self, **_: Any) -> FakeSession:
        return _Session(self)

    def chat(
        self,
        messages: Any,
        seed: int = 0,
        *,
        tell: Any = None,
        pause: Any = None,
        voice: str | None = None,
    ) -> TurnReply:
        if "crash" in str(messages):
            raise RuntimeError(f"broken on {messages}")
        return super().chat(messages, seed, tell=tell)


class _Log(logging.Handler):
    """All that any handler could write of what is logged."""

    def __init__(self) -> None:
        super().__init__(1)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in CLIENTS:
            return
        self.lines.append(self.format(record) + repr(record.__dict__))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Log]:
    handler, levels = _Log(), {name: logging.getLogger(name).level for name in LOGGERS}
    yield handler
    for name, level in levels.items():
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def server(log: _Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setattr(connection, "STEP_SECONDS", 0.02)
    server = RunningServer(_Model(), max_sessions=3, keys=Keys([KEY]))
    for name in LOGGERS:
        logging.getLogger(name).addHandler(log)
        if name != "PIL":  # whose details the server has switched off
            logging.getLogger(name).setLevel(1)
    yield server
    server.stop()


def photograph() -> str:
    file, notes = io.BytesIO(), Image.Exif()
    notes[0x010E] = WORDS  # a description, which libraries read
    Image.new("RGB", (9, 9)).save(file, "JPEG", exif=notes)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def tell(server: RunningServer, path: str, *events: dict[str, Any]) -> None:
    """Say it, and read until the server closes, or nothing follows."""
    offered: Any = ["realtime", f"openai-insecure-api-key.{KEY}"]
    address = server.address.replace("http", "ws") + path
    with connect(address + f"?{KEY}={WORDS.split()[0]}", subprotocols=offered) as live:
        for event in events:
            live.send(json.dumps(event))
        try:
            for _ in range(60):
                live.recv(timeout=5)
        except (ConnectionClosed, TimeoutError):
            pass


def test_content_and_keys_stay_out(server: RunningServer, log: _Log) -> None:
    item = {"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": WORDS}, {"type": "input_image", "image_url": photograph()},
    ]}  # fmt: skip
    sound = base64.b64encode(np.full(24_000, 9_000, "<i2").tobytes()).decode()
    for end in ("", "crash"):  # a session that goes well, and one that fails
        words = f"{WORDS} {end}"
        tell(server, "live", {"type": "image", "data": photograph()},
             {"type": "text", "text": words}, {"type": WORDS})  # fmt: skip
        spoken = item | {"content": [*item["content"], {"type": "input_text", "text": words}]}
        tell(server, "v1/realtime", {"type": "input_audio_buffer.append", "audio": sound},
             {"type": "conversation.item.create", "item": spoken}, {"type": "response.create"},
             {"type": "session.update", "session": {"type": "realtime", WORDS: 1}})  # fmt: skip
        tell(server, "v1/live/sessions", {"type": "session.start", "session": {"model": "x"}},
             {"type": "session.commentary.append", "content": words, "delegation_id": None},
             {"type": WORDS})  # fmt: skip
        with OpenAI(api_key=KEY, base_url=server.address + "v1", max_retries=0) as client:
            secret = client.realtime.client_secrets.create().value
            for stream in (False, True):
                try:
                    ask: Any = [{"role": "user", "content": words}]
                    list(client.chat.completions.create(model="x", messages=ask, stream=stream))
                except Exception:
                    assert end
    with pytest.raises(InvalidStatus):
        connect(
            server.address.replace("http", "ws") + "live",
            additional_headers={"Authorization": f"Bearer {KEY}x"},
        ).__enter__()
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{server.address}v1/nothing?{KEY}={secret}")
    server.stop()
    text = "\n".join(log.lines)
    assert text.count("RuntimeError in ") >= 5  # the failures are told
    for forbidden in (KEY, secret, *WORDS.split(), sound[:40], photograph()[30:70]):
        lines = [line for line in log.lines if forbidden in line]
        assert not lines, (forbidden, lines[:3])
