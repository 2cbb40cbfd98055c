"""One live connection: a reader, a ticker and a writer around one session of the engine.

    reader  takes frames as they come: sound into a buffer, the newest picture, waiting texts
    ticker  every 250 ms, on absolute deadlines that all connections share, gives what came to
            the engine (`quintet.serve.conductor`), and queues the answer
    writer  empties the queue into the socket

Nothing here waits for something that has no bound: the buffers drop or refuse, and a queue that
a slow client lets fill ends the connection. A late model skips deadlines: after a step that
overran, the next one begins at the next multiple of 250 ms, the steps between are left out and
told as `skipped`, and the sound that piled up is passed over where it is quiet (`SoundBuffer`).
A person who gives nothing for long frees the place. The words of the protocol are in
`quintet.serve.protocol`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any

import numpy as np
from fastapi import WebSocket, WebSocketDisconnect

from quintet.config import STEPS_PER_SECOND, UserError
from quintet.live.session import MAX_TEXT_TOKENS
from quintet.serve import protocol
from quintet.serve.conductor import Conductor
from quintet.serve.metrics import Metrics
from quintet.serve.sound_buffer import QUIET, SoundBuffer, level

STEP_SECONDS = 1 / STEPS_PER_SECOND
QUEUED = 64  # frames that a client may lag behind: at least five seconds
WAITING_TEXTS = 8  # typed messages that wait for their step
BAD_MESSAGES = 20  # refused in `BAD_SECONDS` before the connection is closed
BAD_SECONDS = 10.0
IDLE_SECONDS = 600.0  # of nothing but silence, after which the place is needed for others
CLOSE_SECONDS = 1.0  # that the farewell to a client that does not read may take

log = logging.getLogger(__name__)


class ClosingError(Exception):
    """Ends the connection with a code and a reason that the client sees."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class LiveConnection:
    """Serves one accepted WebSocket until either side ends it."""

    def __init__(self, socket: WebSocket, conductor: Conductor, metrics: Metrics) -> None:
        self.socket, self.conductor, self.metrics = socket, conductor, metrics
        self.sound = SoundBuffer()
        self.image: np.ndarray | None = None  # the newest that no step has seen
        self.texts: deque[str] = deque()
        self.reset_wanted = False
        self.out: asyncio.Queue[dict[str, Any] | bytes] = asyncio.Queue(QUEUED)
        self.skipped = 0  # deadlines missed since the last step
        self._active = time.monotonic()  # when the client last gave more than silence
        self._refused: deque[float] = deque(maxlen=BAD_MESSAGES)  # when messages were refused
        self._pictures: deque[float] = deque(maxlen=protocol.IMAGES_PER_SECOND)

    async def run(self) -> None:
        """Returns when the connection is over."""
        self._send(protocol.hello(self.conductor.model.config))
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
        await close(self.socket, error.code, error.reason)

    # ---- reader

    async def _read(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                if message.get("bytes") is not None:
                    self._take_sound(message["bytes"])
                else:
                    self._active = time.monotonic()
                    await self._take_event(message["text"])
            except UserError as error:
                self._refuse(str(error))

    def _take_sound(self, frame: bytes) -> None:
        sound = protocol.decode_sound(frame)
        if level(sound) > QUIET:
            self._active = time.monotonic()
        self.sound.push(sound)

    async def _take_event(self, frame: str) -> None:
        event = protocol.parse_event(frame)
        if isinstance(event, protocol.TextMessage):
            if len(self.texts) >= WAITING_TEXTS:
                raise UserError("Too many messages are waiting; send this one a little later.")
            self.texts.append(event.text)
        elif isinstance(event, protocol.ImageMessage):
            if _too_many(self._pictures, 1.0):
                limit = protocol.IMAGES_PER_SECOND
                raise UserError(f"Pictures come too fast; send at most {limit} in a second.")
            self.image = await asyncio.to_thread(protocol.decode_picture, event.base64)
        else:  # what came before the wish belongs to the old conversation
            self.image = None
            self.texts.clear()
            self.sound.clear()
            self.reset_wanted = True

    def _refuse(self, sentence: str) -> None:
        """Tell the client; one that keeps sending what is refused is sent away."""
        self.metrics.errors += 1
        if _too_many(self._refused, BAD_SECONDS):
            raise ClosingError(1008, "Too many messages were refused; mend the client.")
        self._send(protocol.error_event(sentence))

    # ---- ticker

    async def _tick(self) -> None:
        seat = await self.conductor.join()
        try:
            clock = asyncio.get_running_loop().time
            # The same moments for all connections, so that their steps are computed together.
            deadline = clock() // STEP_SECONDS * STEP_SECONDS
            while True:
                deadline += STEP_SECONDS
                late = clock() - deadline
                if late > 0:  # a late model gets fewer steps, never a queue of them
                    missed = int(late / STEP_SECONDS) + 1
                    self.metrics.skipped_steps += missed
                    self.skipped += missed
                    deadline += missed * STEP_SECONDS
                await asyncio.sleep(deadline - clock())
                if time.monotonic() - self._active > IDLE_SECONDS:
                    raise ClosingError(
                        protocol.IDLE, "Nothing was said for long; continue if you like."
                    )
                if self.reset_wanted:
                    await self._restart(seat)
                await self._step(seat)
        finally:
            self.conductor.leave(seat)

    async def _restart(self, seat: int) -> None:
        """A new conversation; its event stands between the old answers and the new."""
        self.reset_wanted = False
        await self.conductor.renew(seat)
        self._send({"type": "reset"})

    async def _step(self, seat: int) -> None:
        audio = self.sound.take()
        image, self.image = self.image, None
        text = self.texts.popleft() if self.texts else None
        try:
            output = await self.conductor.step(seat, audio, image, text)
        except UserError as error:  # the text is to blame, not the sound and the picture
            self._refuse(_too_long(text) or str(error))
            output = await self.conductor.step(seat, audio, image, None)
        self.metrics.record_step(output.seconds)
        if output.image is not None:
            self._send(await asyncio.to_thread(protocol.image_event, output))
        skipped, self.skipped = self.skipped, 0
        self._send(protocol.step_event(output, level(audio), skipped))
        if output.speaking:
            self._send(protocol.encode_sound(output.audio))

    # ---- writer

    def _send(self, frame: dict[str, Any] | bytes) -> None:
        try:
            self.out.put_nowait(frame)
        except asyncio.QueueFull:
            raise ClosingError(1013, "The client reads too slowly; reconnect.") from None

    async def _write(self) -> None:
        while True:
            frame = await self.out.get()
            if isinstance(frame, bytes):
                await self.socket.send_bytes(frame)
            else:
                await self.socket.send_json(frame)


async def close(socket: WebSocket, code: int, reason: str) -> None:
    """Say why in an event, then close; give up on a client that reads neither."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.send_json(protocol.error_event(reason))
            await socket.close(code, reason)
    except (TimeoutError, RuntimeError, WebSocketDisconnect, ConnectionError):
        pass  # it has gone already


def _too_long(text: str | None) -> str | None:
    """What a person can do about a refused text: they count characters, only the model tokens.

    A token holds one byte or more, and one token ends the text, so that parts of this many
    characters fit for certain. None if so short a text cannot have been refused for its length.
    """
    size = len(text.encode()) if text else 0
    if not text or size < MAX_TEXT_TOKENS:
        return None
    part = len(text) * (MAX_TEXT_TOKENS - 1) // size // 10 * 10
    return (
        f"The text has {len(text):,} characters, more than the model reads at once; "
        f"send it in parts of about {part}."
    )


def _too_many(times: deque[float], seconds: float) -> bool:
    """Note an event now; true if the deque already held its full length within `seconds`."""
    now = time.monotonic()
    full = len(times) == times.maxlen and now - times[0] < seconds
    if not full:
        times.append(now)
    return full
