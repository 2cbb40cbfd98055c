"""What every connection has, whatever its protocol: a reader, a ticker and a writer.

    reader  takes messages as they come
    ticker  every 250 ms, on absolute deadlines that all connections share, gives what came to
            the engine (`quintet.serve.conductor`), and queues the answer
    writer  empties the queue into the socket

Nothing here waits for something that has no bound: a queue that a slow client lets fill ends the
connection. A late model skips deadlines: after a step that overran, the next one begins at the
next multiple of 250 ms. A person who gives nothing for long frees the place.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from quintet.config import STEPS_PER_SECOND
from quintet.serve.conductor import Conductor
from quintet.serve.metrics import Metrics
from quintet.serve.protocol import IDLE
from quintet.serve.redaction import redacted

STEP_SECONDS = 1 / STEPS_PER_SECOND
QUEUED = 64  # frames that a client may lag behind: at least five seconds
BAD_MESSAGES = 20  # refused in `BAD_SECONDS` before the connection is closed
BAD_SECONDS = 10.0
IDLE_SECONDS = 600.0  # of nothing but silence, after which the place is needed for others
CLOSE_SECONDS = 1.0  # that the farewell to a client that does not read may take

log = redacted(__name__)


class ClosingError(Exception):
    """Ends the connection with a code and a reason that the client sees."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Connection(ABC):
    """One accepted WebSocket with its session, until either side ends it.

    A protocol says what a message means (`_read`), what a step is (`_step`), and how frames and
    errors are told.
    """

    idle_code = IDLE

    def __init__(
        self, socket: WebSocket, conductor: Conductor, metrics: Metrics, queued: int = QUEUED
    ) -> None:
        self.socket, self.conductor, self.metrics = socket, conductor, metrics
        self.out: asyncio.Queue[Any] = asyncio.Queue(queued)
        self.voice: str | None = None  # of the session; None: the model's own
        self.skipped = 0  # deadlines missed since the last step
        self.deadline = 0.0  # on the event loop's clock: when the current step began
        self._active = time.monotonic()  # when the client last gave more than silence
        self._refused: deque[float] = deque(maxlen=BAD_MESSAGES)  # when messages were refused

    async def run(self) -> None:
        """Returns when the connection is over."""
        jobs = (self._read(), self._tick(), self._write())
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        errors = [task.exception() for task in tasks if not task.cancelled()]
        error = next((error for error in errors if error), None)
        if error is None or isinstance(error, (WebSocketDisconnect, ConnectionError)):
            return
        if not isinstance(error, ClosingError):
            log.error("A live session failed.", exc_info=error)
            error = ClosingError(1011, "The model failed; start a new conversation.")
        self.metrics.closed[error.code] += 1
        await self._farewell(error.code, error.reason)

    # ---- what a protocol says

    @abstractmethod
    async def _read(self) -> None:
        """Take messages until the client disconnects."""

    async def _begin(self) -> None:  # noqa: B027 - most need nothing
        """What must have happened before the session takes its seat."""

    @abstractmethod
    async def _step(self, seat: int) -> None:
        """One step of the clock."""

    @abstractmethod
    async def _transmit(self, frame: Any) -> None:
        """Put one queued frame into the socket."""

    @abstractmethod
    def _tell_refusal(self, error: Exception) -> None:
        """Queue the protocol's words for a refused message."""

    @abstractmethod
    async def _farewell(self, code: int, reason: str) -> None:
        """Say why, and close."""

    # ---- what all share

    def _note_activity(self) -> None:
        """The client gave more than silence."""
        self._active = time.monotonic()

    def _refuse(self, error: Exception) -> None:
        """Tell the client; one that keeps sending what is refused is sent away."""
        self.metrics.errors += 1
        if too_many(self._refused, BAD_SECONDS):
            raise ClosingError(1008, "Too many messages were refused; mend the client.")
        self._tell_refusal(error)

    async def _tick(self) -> None:
        await self._begin()
        seat = await self.conductor.join(self.voice)
        try:
            clock = asyncio.get_running_loop().time
            # The same moments for all connections, so that their steps are computed together.
            self.deadline = clock() // STEP_SECONDS * STEP_SECONDS
            while True:
                self.deadline += STEP_SECONDS
                late = clock() - self.deadline
                if late > 0:  # a late model gets fewer steps, never a queue of them
                    missed = int(late / STEP_SECONDS) + 1
                    self.metrics.skipped_steps += missed
                    self.skipped += missed
                    self.deadline += missed * STEP_SECONDS
                await asyncio.sleep(self.deadline - clock())
                if time.monotonic() - self._active > IDLE_SECONDS:
                    raise ClosingError(
                        self.idle_code, "Nothing was said for long; continue if you like."
                    )
                await self._step(seat)
                self.metrics.record_tick(clock() - self.deadline)
        finally:
            self.conductor.leave(seat)

    def _send(self, frame: Any) -> None:
        try:
            self.out.put_nowait(frame)
        except asyncio.QueueFull:
            raise too_slow() from None

    async def _write(self) -> None:
        while True:
            await self._transmit(await self.out.get())


def too_slow() -> ClosingError:
    return ClosingError(1013, "The client reads too slowly; reconnect.")


async def close(socket: WebSocket, event: dict[str, Any], code: int, reason: str) -> None:
    """Say why in an event, then close; give up on a client that reads neither."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.send_json(event)
            await socket.close(code, reason)
    except (TimeoutError, RuntimeError, WebSocketDisconnect, ConnectionError):
        pass  # it has gone already


def too_many(times: deque[float], seconds: float) -> bool:
    """Note an event now; true if the deque already held its full length within `seconds`."""
    now = time.monotonic()
    full = len(times) == times.maxlen and now - times[0] < seconds
    if not full:
        times.append(now)
    return full
