"""The Live API over a WebSocket: one timeline without turns, on which both sides may speak.

Every step gives 250 ms of sound, zeros where the model is silent. Times are milliseconds of the
session's own clock: what is said at a step plays from its end on.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import deque
from typing import Any

import numpy as np
from fastapi import WebSocket, WebSocketDisconnect

from quintet.config import STEP_SAMPLES
from quintet.serve.api.formats import SoundDecoder, SoundEncoder, decode_base64
from quintet.serve.api.ids import new_id
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import AudioInput
from quintet.serve.conductor import Conductor
from quintet.serve.connection import CLOSE_SECONDS, ClosingError
from quintet.serve.metrics import Metrics
from quintet.serve.realtime.api_socket import MOVED, ApiConnection
from quintet.serve.realtime.ears import Ears, Heard, Spoken, Started
from quintet.serve.realtime.events import event
from quintet.serve.realtime.live_settings import MAX_CONTENT, LiveSettings, started, updated
from quintet.serve.turn_mode import TurnMode
from quintet.serve.voices import known_voice

STEP_MS = 250
START_SECONDS = 10.0  # within which the first event must come
LONGEST_SESSION = 3_600  # seconds
USAGE_STEPS = 40  # between two accounts of the time used
MAX_APPENDED = 32  # texts that wait for their step


class LiveApiConnection(ApiConnection):
    """Serves a client of the Live API."""

    def __init__(
        self, socket: WebSocket, conductor: Conductor, metrics: Metrics, turns: TurnMode
    ) -> None:
        super().__init__(socket, conductor, metrics, turns)
        self.id = new_id("sess")
        self.settings: LiveSettings | None = None  # until the session starts
        self.expires = 0
        self.started = asyncio.Event()
        self.ears = Ears(AudioInput())
        self.encoder = SoundEncoder()
        self.texts: deque[str] = deque()
        self.muted = False
        self.steps = 0  # of the session's clock so far
        self._accounted = 0  # steps of which the client has an account
        self._spoken_from = 0  # ms at which the turn being heard began

    # ---- reader

    async def _take(self, event_: dict[str, Any]) -> None:
        kind = event_["type"]
        if kind == "session.start":
            self._start(event_.get("session"))
        elif self.settings is None:
            raise RequestError("Start the session first.", "session_not_started", "type")
        elif kind == "session.input_audio.append":
            await self._append(event_.get("audio"))
        else:
            self._note_activity()
            self._other(kind, event_)

    def _other(self, kind: str, event_: dict[str, Any]) -> None:
        if kind in ("session.input_audio.mute", "session.input_audio.unmute"):
            self.muted = kind.endswith(".mute")
            self._tell(f"{kind}d")
        elif kind == "session.update":
            assert self.settings is not None
            self.settings = updated(self.settings, event_.get("session"))
            self._tell("session.updated", session=self._resource())
        elif kind in ("session.commentary.append", "session.instructions.append",
                      "session.thinking.append"):  # fmt: skip
            self._append_text(kind, event_)
        elif kind == "session.close":
            self._close("close_requested")
            raise ClosingError(1000, "")
        else:
            raise RequestError(
                f"There is no event {kind[:64]!r} here; see docs/realtime-api.md.",
                "invalid_value", "type",
            )  # fmt: skip

    def _start(self, session: object) -> None:
        if self.settings is not None:
            raise RequestError("The session has started already.", "session_already_started")
        self.settings = started(session)
        self.voice = known_voice(self.settings.audio.output.voice, self.conductor.model)
        given = self.settings.audio.format
        self.ears.decoder = SoundDecoder(given.type, given.rate)
        self.encoder = SoundEncoder(given.type, given.rate)
        self.expires = int(time.time()) + LONGEST_SESSION
        self._tell("session.started", session=self._resource())
        self.started.set()

    async def _append(self, audio: object) -> None:
        data = await asyncio.to_thread(decode_base64, audio, "audio")
        if self.muted:
            self.ears.queue.push(np.zeros_like(self.ears.decoder.decode(data)))
        else:
            self._listen(self.ears.append(data))

    def _append_text(self, kind: str, event_: dict[str, Any]) -> None:
        """Commentary is given to the model as words to answer; the rest it was not trained on."""
        content = event_.get("content")
        if not isinstance(content, str) or not content.strip() or len(content) > MAX_CONTENT:
            raise RequestError(
                f"The content must be a text of 1 to {MAX_CONTENT:,} characters.",
                "invalid_value", "content",
            )  # fmt: skip
        if event_.get("delegation_id") is not None:
            raise RequestError(
                "Nothing was delegated; send null.", "invalid_value", "delegation_id"
            )
        if len(self.texts) >= MAX_APPENDED:
            raise RequestError("Too many texts wait; send this one later.", "too_many_items")
        if kind == "session.commentary.append":
            self.texts.append(content.encode("utf-8", "replace").decode("utf-8"))
        now = self.steps * STEP_MS
        self._tell(f"{kind}ed", start_ms=now, end_ms=now)

    # ---- ticker

    async def _begin(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.started.wait()
        except TimeoutError:
            raise ClosingError(1008, "No session was started; send session.start first.") from None

    async def _step(self, seat: int) -> None:
        if time.time() >= self.expires:
            self._close("expired")
            raise ClosingError(MOVED, "")
        lost, self.skipped = self.skipped, 0
        self.ears.queue.lose(lost)
        self.steps += lost + 1  # the timeline has no breaks
        audio, heard = self.ears.step()
        self._heard(heard)
        text = self.texts.popleft() if self.texts else None
        output = await self._ask(seat, audio, None, text)
        sound = np.concatenate([np.zeros(lost * STEP_SAMPLES, np.float32), output.audio])
        delta = base64.b64encode(self.encoder.encode(sound)).decode("ascii")
        self._queue({"type": "session.output_audio.delta", "delta": delta})
        now = self.steps * STEP_MS
        if output.text:
            self._tell("session.output_transcript.delta", False, delta=output.text,
                       start_ms=now, end_ms=now + STEP_MS)  # fmt: skip
        if self.steps - self._accounted >= USAGE_STEPS:
            self._accounted = self.steps
            self._tell("session.usage.updated", False, usage=self._usage())

    def _heard(self, heard: list[Heard]) -> None:
        now = self.steps * STEP_MS
        for one in heard:
            if isinstance(one, Started):
                self._spoken_from = max(0, now - STEP_MS)
            elif isinstance(one, Spoken):
                self._write_turn(one.sound, self._spoken_from, now)

    def _write_turn(self, sound: np.ndarray, start_ms: int, end_ms: int) -> None:
        def done(transcript: str) -> None:
            if transcript:
                self._tell("session.input_transcript.delta", False, delta=transcript + " ",
                           start_ms=start_ms, end_ms=end_ms)  # fmt: skip

        self.transcripts.begin(sound, done, lambda _: None)

    # ---- writer

    def _tell(self, kind: str, answers: bool = True, **fields: Any) -> None:
        """An event, which `answers` the client's or comes by itself."""
        if answers and self._client_id:
            fields["client_event_id"] = self._client_id
        self._queue(event(kind, **fields))

    def _error(self, problem: RequestError, event_id: str | None) -> dict[str, Any]:
        body = problem.body() | {"code": problem.code or problem.kind}
        return event("error", error=body | {"client_event_id": event_id})

    def _close(self, reason: str) -> None:
        """Only said: the connection closes when all that is queued has been sent."""
        self._tell("session.closed", reason=reason, session=self._resource(), usage=self._usage())

    async def _farewell(self, code: int, reason: str) -> None:
        if reason:
            await super()._farewell(code, reason)
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while not self.out.empty():
                    await self._transmit(self.out.get_nowait())
                await self.socket.close(code)
        except (TimeoutError, RuntimeError, WebSocketDisconnect, ConnectionError):
            pass  # it has gone already

    def _usage(self) -> dict[str, float]:
        return {"seconds": self.steps * STEP_MS / 1_000}

    def _resource(self) -> dict[str, Any]:
        assert self.settings is not None
        told = self.settings.model_dump(exclude={"client", "input", "triggers"}, exclude_none=True)
        told["model"] = self.conductor.model.config.name
        about = {"id": self.id, "status": "active", "expires_at": self.expires}
        return told | about | {"delegation": told.get("delegation")}
