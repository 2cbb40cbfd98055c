"""The connections below the application: what uvicorn leaves unbounded, bounded.

A stranger may open a connection and send one byte a second, never read an answer, ask for echoes
without reading them, or cut a message into pieces without end. Each costs a connection, or memory,
for as long as it likes. Here the head of a request has a time to come, a client that reads
nothing has a time to begin, who does not read is not heard, and a message has so many pieces.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

HEAD_SECONDS = 10.0  # that the head of a request may take to come
STALL_SECONDS = 30.0  # in which a client that has something to read must read some of it
MAX_PIECES = 8_192  # of one message: 16 MiB in pieces of 2 KiB


class Patience:
    """A timer that ends a connection."""

    def __init__(self) -> None:
        self._timer: TimerHandle | None = None

    def begin(self, transport: asyncio.Transport, seconds: float) -> None:
        """End the connection, unsent data and all, in so long; a timer that runs goes on."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, transport.abort)

    def end(self) -> None:
        """There is nothing to wait for any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class PatientHttp(H11Protocol):
    """HTTP whose heads come in time and whose answers are read."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self._head, self._stall = Patience(), Patience()
        self._upgraded = False  # a WebSocket has taken the connection over

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():  # once what waits is sent, which may be never
            self._stall.begin(self.transport, STALL_SECONDS)
        self._watch()

    def _watch(self) -> None:
        """Give the next request's head a time to come, or let the one that came be answered."""
        if self._upgraded:
            return
        if self.cycle is None or self.cycle.response_complete:
            self._head.begin(self.transport, HEAD_SECONDS)
        else:
            self._head.end()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._stall.begin(self.transport, STALL_SECONDS)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._upgraded = True
        self._head.end()
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.begin(self.transport, STALL_SECONDS)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall.end()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head.end()
        self._stall.end()


class PatientWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that is read, whose messages have an end, and of which nothing is logged."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.conn.debug = False  # or frames and headers, keys among them, go to the log
        self._stall, self._lost = Patience(), False

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.begin(self.transport, STALL_SECONDS)
        if not self.read_paused:  # its pings would be answered, and the answers pile up
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall.end()
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await super().receive()  # which goes on reading, whoever else has paused it
        if not self.writable.is_set() and not self.read_paused:
            self.transport.pause_reading()
        return message

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MAX_PIECES:
            self.conn.fail(1009, "too many pieces")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self.disconnected = True  # what the application still sends has nobody to go to

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.disconnected = self.disconnected or self.close_sent

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if not self._lost:  # it closes when the client has read all, which may be never
            self._stall.begin(self.transport, STALL_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost = True
        self._stall.end()
