"""Clients that send slowly, never read, or never end: they go, and nobody else notices."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from fake import FakeModel
from running import RunningServer
from websockets.sync.client import connect

from quintet.live.turns import TurnReply
from quintet.serve import connection, wire

LONG = 3_000_000  # samples: more than the system's buffers hold
HANDSHAKE = "GET /{} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n\r\n"  # fmt: skip


class _Model(FakeModel):
    """Its answers in turn mode are long."""

    def chat(self, messages: Any, seed: int = 0, **_: Any) -> TurnReply:
        return TurnReply("long", [], np.zeros(LONG, np.float32))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setattr(connection, "STEP_SECONDS", 0.02)
    monkeypatch.setattr(wire, "STALL_SECONDS", 1.0)
    server = RunningServer(_Model(), max_sessions=3)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # of those that come
    yield server
    server.stop()


def raw(server: RunningServer, sent: str = "") -> socket.socket:
    """A connection of which the test decides every byte, with a small buffer."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    address = urlsplit(server.address)
    made.connect((address.hostname, address.port))
    made.settimeout(10)
    made.sendall(sent.encode())
    return made


def websocket(server: RunningServer, path: str) -> socket.socket:
    key = base64.b64encode(os.urandom(16)).decode()
    made = raw(server, HANDSHAKE.format(path, key))
    assert b" 101 " in read_until(made, b"\r\n\r\n", 1)
    return made


def read_until(made: socket.socket, end: bytes, at_once: int) -> bytes:
    """All that comes up to `end`, read so many bytes at a time."""
    read = b""
    while end not in read:
        more = made.recv(at_once)
        assert more, f"the server ended the connection after {read!r}"
        read += more
    return read


def frame(data: bytes, opcode: int, fin: bool = True) -> bytes:
    """A short one, masked with zeros."""
    return struct.pack("!BB", fin << 7 | opcode, 0x80 | len(data)) + bytes(4) + data


def in_time(true: Callable[[], bool]) -> bool:
    """Whether it becomes true; how soon is not asked."""
    for _ in range(500):
        if true():
            return True
        time.sleep(0.02)
    return False


def left(server: RunningServer) -> int:
    return len(server.server.server_state.connections)


def sessions(server: RunningServer) -> int:
    with urllib.request.urlopen(server.address + "metrics") as answer:
        lines = answer.read().decode().splitlines()
    return int(next(line for line in lines if line.startswith("quintet_sessions ")).split()[1])


class Bystander:
    """A person at the page, who reads all the time and remembers the numbers of the steps."""

    def __init__(self, server: RunningServer) -> None:
        self.address = server.address.replace("http", "ws") + "live"
        self.steps: list[int] = []
        self.left = False
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        with connect(self.address) as live:
            while not self.left:
                event = json.loads(live.recv(timeout=10))
                if event["type"] == "step":
                    self.steps.append(event["step"])

    def is_well(self) -> bool:
        """Whether more steps come, and none was left out of those that did."""
        before = len(self.steps)
        more = in_time(lambda: len(self.steps) >= before + 5)
        return more and self.steps == list(range(1, len(self.steps) + 1))

    def __enter__(self) -> Bystander:
        assert in_time(lambda: bool(self.steps))
        return self

    def __exit__(self, *_: object) -> None:
        self.left = True
        self.thread.join()


def closed(made: socket.socket) -> bool:
    """Whether the server ended it; read to the end."""
    try:
        while made.recv(65_536):
            pass
    except (ConnectionError, TimeoutError) as error:
        return not isinstance(error, TimeoutError)
    return True


@pytest.mark.parametrize(
    "begun",
    ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n", "GET /live HTTP/1.1\r\nUpgrade: websocket",
     "GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n"],
)  # fmt: skip
def test_one_byte_now_and_then_keeps_no_connection(
    server: RunningServer, begun: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HEAD_SECONDS", 0.3)
    slow = raw(server, begun)
    ended = False
    for _ in range(400):  # many times as long as there is
        try:
            slow.sendall(b"a")
        except ConnectionError:
            ended = True
            break
        time.sleep(0.02)
    assert ended and in_time(lambda: left(server) == 0)


def test_a_request_in_pieces_is_answered_and_its_connection_kept(server: RunningServer) -> None:
    with raw(server) as patient:
        for _ in range(2):
            for piece in ("GET /hea", "lth HTTP/1.1\r\nHo", "st: x\r\n\r\n"):
                patient.sendall(piece.encode())
                time.sleep(0.02)
            assert b" 200 " in read_until(patient, b'"ok"', 4_096)


def test_an_answer_that_nobody_reads_is_thrown_away(server: RunningServer) -> None:
    body = json.dumps({"input": "hello", "response_format": "pcm"})
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    slow = raw(server, head + body)
    assert in_time(lambda: left(server) == 1) and in_time(lambda: left(server) == 0)
    slow.close()


@pytest.mark.parametrize("path", ["live", "v1/live/sessions", "v1/realtime"])
def test_a_session_that_nobody_reads_gives_its_place_back(
    server: RunningServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.2)
    with Bystander(server) as other:
        slow = websocket(server, path)
        if path == "v1/live/sessions":
            start = json.dumps({"type": "session.start", "session": {"model": "x"}}).encode()
            slow.sendall(frame(start, 1))
        ask = b'{"type": "text", "text": "draw"}' if path == "live" else b'{"type": "x"}'
        assert in_time(lambda: sessions(server) == 2)
        for _ in range(2_000):
            try:
                slow.sendall(frame(ask, 1))
            except (ConnectionError, TimeoutError):
                break
        assert in_time(lambda: sessions(server) == 1)
        assert in_time(lambda: left(server) == 1)
        assert other.is_well()
        slow.close()


def test_echoes_that_nobody_reads_do_not_pile_up(server: RunningServer) -> None:
    slow = websocket(server, "live")
    slow.settimeout(0.2)
    pings = frame(b"a" * 125, 9) * 1_000
    largest = 0
    try:
        for _ in range(300):  # 37 MB
            slow.sendall(pings)
            one = next(iter(server.server.server_state.connections), None)
            if one is not None:
                largest = max(largest, one.transport.get_write_buffer_size())
    except (ConnectionError, TimeoutError):
        pass
    assert largest < 2**20
    assert in_time(lambda: left(server) == 0) and sessions(server) == 0
    slow.close()


def test_a_message_in_endless_pieces_is_ended(server: RunningServer) -> None:
    with Bystander(server) as other:
        endless = websocket(server, "v1/realtime")
        endless.sendall(frame(b"{", 1, fin=False))
        try:
            for _ in range(wire.MAX_PIECES // 1_000 + 1):
                endless.sendall(frame(b"", 0, fin=False) * 1_000)
        except ConnectionError:
            pass
        assert closed(endless)
        assert in_time(lambda: sessions(server) == 1)
        assert other.is_well()
    with connect(server.address.replace("http", "ws") + "live") as live:  # as many as may be
        live.send(["{", *["a"] * 5_000])
        while "not JSON" not in str(live.recv(timeout=10)):
            pass
