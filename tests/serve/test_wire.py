"""A session whose client broke the protocol has lost its client: it did not fail."""

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
        self.closing = False

    def write(self, data: Any) -> None:
        pass

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


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
        for _ in range(5):
            await asyncio.sleep(0)
        assert [type(error) for error in ended] == [ClientDisconnected]
        socket.connection_lost(None)

    asyncio.run(job())
