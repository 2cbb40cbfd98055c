"""The page's connection: frames of `quintet.serve.protocol` around one session of the engine.

The reader puts sound into a buffer and keeps the newest picture and the waiting texts; each step
takes what is there. The buffers drop or refuse. The steps that a late model leaves out are told as
`skipped`, and the sound that piled up is passed over where it is quiet (`SoundBuffer`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Any

import numpy as np
from fastapi import WebSocket

from quintet.config import UserError
from quintet.live.sampling import Sampling
from quintet.live.speakers import NAME_LENGTH
from quintet.serve import protocol
from quintet.serve.conductor import Conductor
from quintet.serve.connection import Connection, close, too_many
from quintet.serve.metrics import Metrics
from quintet.serve.sound_buffer import QUIET, SoundBuffer, level
from quintet.serve.transcripts import LastSound, Transcripts
from quintet.serve.turn_mode import TurnMode
from quintet.serve.voices import voice_names

WAITING_TEXTS = 8  # typed messages that wait for their step


class LiveConnection(Connection):
    """Serves the page."""

    def __init__(
        self, socket: WebSocket, conductor: Conductor, metrics: Metrics, turns: TurnMode
    ) -> None:
        super().__init__(socket, conductor, metrics)
        self.transcripts = Transcripts(turns)
        self.heard = LastSound()
        self.sound = SoundBuffer()
        self.image: np.ndarray | None = None  # the newest that no step has seen
        self.texts: deque[str] = deque()
        self.reset_wanted = False
        self.sampling: Sampling | None = None  # as the client wants it
        self._tuned: Sampling | None = None  # as the session has it
        self._pictures: deque[float] = deque(maxlen=protocol.IMAGES_PER_SECOND)
        self._send(protocol.hello(conductor.model.config, voice_names(conductor.model)))

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            self.transcripts.cancel()

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
                    self._note_activity()
                    await self._take_event(message["text"])
            except UserError as error:
                self._refuse(error)

    def _take_sound(self, frame: bytes) -> None:
        sound = protocol.decode_sound(frame)
        if level(sound) > QUIET:
            self._note_activity()
        self.sound.push(sound)
        self.heard.push(frame)

    async def _take_event(self, frame: str) -> None:
        event = protocol.parse_event(frame)
        if isinstance(event, protocol.TextMessage):
            if len(self.texts) >= WAITING_TEXTS:
                raise UserError("Too many messages are waiting; send this one a little later.")
            self.texts.append(event.text)
        elif isinstance(event, protocol.ImageMessage):
            if too_many(self._pictures, 1.0):
                limit = protocol.IMAGES_PER_SECOND
                raise UserError(f"Pictures come too fast; send at most {limit} in a second.")
            self.image = await asyncio.to_thread(protocol.decode_picture, event.base64)
        elif isinstance(event, protocol.SamplingMessage):
            self.sampling = event.sampling
        elif isinstance(event, protocol.TranscribeMessage):
            self._transcribe(event)
        else:
            if isinstance(event, protocol.VoiceMessage):
                self._choose(event.name)
            self._forget()

    def _choose(self, voice: str) -> None:
        names = voice_names(self.conductor.model)
        if voice not in names:
            shown = repr(voice[:NAME_LENGTH])
            raise UserError(f"There is no voice {shown}; choose one of: {', '.join(names)}.")
        self.voice = voice

    def _forget(self) -> None:
        """What came before the wish for a new conversation belongs to the old one."""
        self.image = None
        self.texts.clear()
        self.sound.clear()
        self.heard.clear()
        self.transcripts.cancel()
        self.reset_wanted = True

    def _transcribe(self, event: protocol.TranscribeMessage) -> None:
        def tell(text: str | None, message: str = "") -> None:
            self._send(protocol.transcript_event(event.id, text, message))

        sound = self.heard.last(event.seconds)
        if len(sound):
            self.transcripts.begin(sound, tell, partial(tell, None))
        else:
            tell("")

    def _tell_refusal(self, error: Exception) -> None:
        self._send(protocol.error_event(str(error)))

    # ---- ticker

    async def _step(self, seat: int) -> None:
        if self.reset_wanted:  # a new conversation; its event stands between old answers and new
            self.reset_wanted = False
            await self.conductor.renew(seat, self.voice)
            self._tuned = None
            self._send({"type": "reset"})
        if self.sampling is not None and self.sampling != self._tuned:
            self._tuned = self.sampling
            await self.conductor.tune(seat, self.sampling)
        audio = self.sound.take()
        image, self.image = self.image, None
        text = self.texts.popleft() if self.texts else None
        try:
            output = await self.conductor.step(seat, audio, image, text)
        except UserError as error:  # the text is to blame, not the sound and the picture
            self._refuse(error)
            output = await self.conductor.step(seat, audio, image, None)
        if output.image is not None:
            self._send(await asyncio.to_thread(protocol.image_event, output))
        skipped, self.skipped = self.skipped, 0
        self._send(protocol.step_event(output, level(audio), skipped))
        if output.speaking:
            self._send(protocol.encode_sound(output.audio))

    # ---- writer

    async def _transmit(self, frame: dict[str, Any] | bytes) -> None:
        if isinstance(frame, bytes):
            await self.socket.send_bytes(frame)
        else:
            await self.socket.send_json(frame)

    async def _farewell(self, code: int, reason: str) -> None:
        await close(self.socket, protocol.error_event(reason), code, reason)
