"""What is small on the wire and large or slow inside: refused before it costs anything."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from fake import FakeModel
from PIL import Image
from running import RunningServer
from talk import Talk
from test_slow_clients import closed, raw, read_until, websocket

from quintet.serve.api.problems import RequestError
from quintet.serve.realtime import items
from quintet.serve.realtime.items import parse_item
from quintet.serve.rest import chat_api
from quintet.serve.rest.chat_api import read_messages
from quintet.serve.rest.requests import MAX_PARTS, form

HEAD = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
TYPE = 'multipart/form-data; boundary="x"'


def png(side: int = 1_024) -> str:
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    assert len(file.getvalue()) < 2_000  # and 3 MiB once decoded
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def flac(seconds: int) -> str:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(8_000 * seconds), 8_000, format="FLAC")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    server = RunningServer(FakeModel(), max_sessions=2)
    yield server
    server.stop()


@pytest.mark.parametrize("kind", ["image_url", "input_audio"])
def test_many_media_in_one_request_are_refused_in_time(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[object] = []

    def counted(part: object, place: str) -> Any:
        decoded.append(part)
        return read(part, place)

    read = chat_api._part
    monkeypatch.setattr(chat_api, "_part", counted)
    media = {"url": png()} if kind == "image_url" else {"data": flac(100), "format": "flac"}
    content = [{"type": kind, kind: media}] * 200
    with pytest.raises(RequestError, match="more media") as refused:
        read_messages([{"role": "user", "content": content}])
    assert refused.value.code == "too_much_media"
    assert len(decoded) <= 22  # 3 MiB each, or 9


def test_sound_of_hours_in_a_small_file_is_refused() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": flac(600), "format": "flac"}}
    with pytest.raises(RequestError, match="lasts longer"):
        read_messages([{"role": "user", "content": [audio]}])


def test_an_item_of_many_pictures_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, decode = [], items.decode_picture
    monkeypatch.setattr(items, "MAX_DECODED", 10 * 2**20)
    monkeypatch.setattr(
        items, "decode_picture", lambda body: decoded.append(body) or decode(body)
    )  # fmt: skip
    content = [{"type": "input_image", "image_url": png()}] * 32
    with pytest.raises(RequestError, match="The item holds more"):
        parse_item({"type": "message", "role": "user", "content": content})
    assert len(decoded) == 4


def test_a_response_s_own_input_is_bounded_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from test_epochs import connection

    picture = {"type": "input_image", "image_url": png()}
    item = {"type": "message", "role": "user", "content": [picture] * 8}  # 24 MiB
    live, _ = connection()
    parsed: list[object] = []

    def counted(value: object) -> Any:
        parsed.append(value)
        return parse_item(value)

    monkeypatch.setattr("quintet.serve.realtime.realtime_socket.parse_item", counted)
    with pytest.raises(RequestError, match="Too much waits"):
        asyncio.run(live._respond({"input": [item] * 40}))
    assert len(parsed) == 3


def test_a_form_of_many_parts_and_parts_in_parts_cost_nothing() -> None:
    with pytest.raises(RequestError, match=f"{MAX_PARTS} parts"):
        form(TYPE, HEAD % (b"a", b"") * 100_000)
    nested = b"".join(
        b"--x%d\r\nContent-Type: multipart/mixed; boundary=x%d\r\n\r\n" % (depth, depth + 1)
        for depth in range(3_000)
    )
    assert form("multipart/form-data; boundary=x0", nested) == {}


def test_a_form_is_read_to_the_byte() -> None:
    file = bytes(range(256)) * 3 + b"\r\n--y\r\n\r\n"
    body = HEAD % (b"file", file) + HEAD % (b"stream", b"true") + b"--x--\r\n"
    assert form(TYPE, body) == {"file": file, "stream": b"true"}
    assert form("MULTIPART/Form-Data; charset=utf-8; boundary=x", body)["file"] == file
    for wrong in ("", "multipart/form-data", "application/json", "multipart/mixed; boundary=x",
                  "multipart/form-data; boundary=\xe9"):  # fmt: skip
        with pytest.raises(RequestError, match="multipart"):
            form(wrong, body)


def test_compressed_bodies_and_frames_are_not_unpacked(server: RunningServer) -> None:
    body = b"\x1f\x8b" + bytes(100)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
    with raw(server, f"{head}Content-Length: {len(body)}\r\n\r\n") as packed:
        packed.sendall(body)
        assert b" 400 " in read_until(packed, b"invalid_json", 4_096)
    live = websocket(server, "v1/realtime")
    live.sendall(struct.pack("!BB", 0xC1, 0x80 | 2) + bytes(4) + b"{}")
    assert closed(live)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "9" * 100_000, '{"a":' * 60_000, '"' + "\\ud800" * 10_000 + '"',
     json.dumps({"type": "x", "a": [{}] * 100_000})],
)  # fmt: skip
def test_json_that_is_heavy_to_read_is_refused(server: RunningServer, text: str) -> None:
    with raw(server, f"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: "
             f"{len(text)}\r\n\r\n{text}") as heavy:  # fmt: skip
        assert b" 400 " in heavy.recv(4_096)


def test_a_conversation_keeps_only_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "MAX_ITEMS", 5)
    monkeypatch.setattr(items, "MAX_MEDIA", 10_000)
    talk = Talk()
    sound = base64.b64encode(bytes(4_000)).decode()
    for _ in range(12):
        item = {"type": "message", "role": "user",
                "content": [{"type": "input_audio", "audio": sound}]}  # fmt: skip
        talk.dialogue.create(parse_item(item), None)
    kept = talk.dialogue.conversation.items
    assert len(kept) == 5
    assert sum(part.size for item in kept for part in item.parts) <= 10_000
