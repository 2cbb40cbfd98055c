"""A WebSocket below the application: who breaks the protocol is gone, who does not read waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from quintet.serve import uvicorn_config
from quintet.serve.wire import PatientWebSocket

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class _Transport(asyncio.Transport):
    """Takes everything; a network without a wire."""

    def __init__(self) -> None:
        super().__init__({"peername": ("a", 1), "sockname": ("b", 2)})
        self.closing = self.paused = False

    def write(self, data: Any) -> None:
        pass

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.closing = True


@pytest.mark.parametrize("way", ["a broken frame", "no UTF-8", "no answer to a ping"])
def test_what_is_sent_to_who_broke_off_is_no_failure(way: str) -> None:
    async def job() -> None:
        broken, ended = asyncio.Event(), list[BaseException]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.accept"})
            await broken.wait()
            try:
                await send({"type": "websocket.send", "text": "x"})
            except BaseException as error:
                ended.append(error)

        config = uvicorn_config(app)
        config.load()
        socket = PatientWebSocket(config, ServerState(), {})
        socket.connection_made(_Transport())
        socket.data_received(HANDSHAKE)
        await asyncio.sleep(0)
        if way == "no answer to a ping":
            socket.keepalive_timeout()
        else:
            wrong = b"\xff\xff" if way == "a broken frame" else b"\x81\x81\0\0\0\0\xff"
            socket.data_received(wrong)
        broken.set()
        await _turns()
        assert [type(error) for error in ended] == [ClientDisconnected]
        socket.connection_lost(None)

    asyncio.run(job())


@pytest.mark.parametrize("queued", [0, 1, 3])
def test_who_does_not_read_is_not_heard_whatever_it_sent_before(queued: int) -> None:
    """What had come is taken by the application, and more is not read before something is sent."""

    async def job() -> None:
        take, taken = asyncio.Semaphore(0), list[str]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while True:
                await take.acquire()
                message = await receive()
                if "text" not in message:
                    return
                taken.append(message["text"])

        config = uvicorn_config(app)
        config.load()
        socket, wire = PatientWebSocket(config, ServerState(), {}), _Transport()
        socket.connection_made(wire)
        socket.data_received(HANDSHAKE)
        await _turns()
        socket.data_received(b"\x81\x81\0\0\0\0x" * queued)
        assert wire.paused == (queued > 0)
        socket.pause_writing()
        for _ in range(queued):
            take.release()
            await _turns()
            assert wire.paused
        assert len(taken) == queued
        socket.resume_writing()
        assert not wire.paused
        socket.data_received(b"\x81\x81\0\0\0\0x")
        assert wire.paused
        take.release()
        await _turns()
        assert not wire.paused and len(taken) == queued + 1
        socket.connection_lost(None)
        take.release()
        await _turns()

    asyncio.run(job())


async def _turns() -> None:
    """Let whoever can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)
