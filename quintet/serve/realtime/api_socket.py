"""What the sockets of both APIs share: frames, errors, transcripts, and a queue of bounded size."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any

import numpy as np
from fastapi import WebSocket

from quintet.config import UserError
from quintet.live.session import StepOutput
from quintet.serve import protocol
from quintet.serve.api.frames import Pace, client_id, parse_frame
from quintet.serve.api.problems import RequestError
from quintet.serve.conductor import Conductor
from quintet.serve.connection import Connection, close, too_slow
from quintet.serve.metrics import Metrics
from quintet.serve.sound_buffer import QUIET, level
from quintet.serve.transcripts import Transcripts
from quintet.serve.turn_mode import TurnMode

QUEUED = 1_000  # events that a client may lag behind
QUEUED_CHARACTERS = 64 * 2**20  # and their length together
MOVED = 1001  # close code of a session whose time is over: the client may begin another


class ApiConnection(Connection):
    """An API says what an event means (`_take`) and how an error is written (`_error`)."""

    idle_code = MOVED

    def __init__(
        self, socket: WebSocket, conductor: Conductor, metrics: Metrics, turns: TurnMode
    ) -> None:
        super().__init__(socket, conductor, metrics, QUEUED)
        self.transcripts = Transcripts(turns)
        self._pace = Pace()
        self._client_id: str | None = None  # of the event that is being taken
        self._characters = 0

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            self.transcripts.cancel()

    # ---- what an API says

    @abstractmethod
    async def _take(self, event: dict[str, Any]) -> None:
        """Do what the client's event says."""

    @abstractmethod
    def _error(self, problem: RequestError, event_id: str | None) -> dict[str, Any]:
        """The event that tells it; `event_id` is the client's, of the event that is to blame."""

    # ---- reader

    async def _read(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await self._pace.take(message)
            self._client_id = None
            try:
                event = parse_frame(message)
                self._client_id = client_id(event)
                await self._take(event)
            except RequestError as error:
                self._refuse(error)

    def _listen(self, sound: np.ndarray) -> None:
        if level(sound) > QUIET:
            self._note_activity()

    def _tell_refusal(self, error: Exception) -> None:
        problem = error if isinstance(error, RequestError) else RequestError(str(error))
        self._queue(self._error(problem, self._client_id))

    # ---- ticker

    async def _ask(
        self, seat: int, audio: np.ndarray, image: np.ndarray | None, text: str | None
    ) -> StepOutput:
        """One step of the engine."""
        try:
            return await self.conductor.step(seat, audio, image, text)
        except UserError as error:  # the text is to blame, not the sound and the picture
            self._client_id = None
            self._refuse(RequestError(str(error), "invalid_value"))
            return await self.conductor.step(seat, audio, image, None)

    # ---- writer

    def _queue(self, event: dict[str, Any], response: str | None = None) -> None:
        """Queue an event, which may no longer be sent once its `response` is cancelled."""
        text = json.dumps(event)
        self._characters += len(text)
        if self._characters > QUEUED_CHARACTERS:
            raise too_slow()
        self._send((text, response))

    def _obsolete(self, response: str | None) -> bool:
        return False

    async def _transmit(self, frame: Any) -> None:
        text, response = frame
        self._characters -= len(text)
        if not self._obsolete(response):
            await self.socket.send_text(text)

    async def _farewell(self, code: int, reason: str) -> None:
        words = {1008: "too_many_errors", 1011: "server_error", 1013: "overloaded",
                 MOVED: "session_expired"}  # fmt: skip
        kind = "server_error" if code in (1011, 1013) else "invalid_request_error"
        problem = RequestError(reason, words.get(code), kind=kind)
        await close(self.socket, self._error(problem, None), code, reason)


def picture_url(output: StepOutput) -> str:
    """The data URL of what a step drew; slow, so not for the event loop."""
    url: str = protocol.image_event(output)["data"]
    return url
