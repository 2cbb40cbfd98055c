"""The Realtime API over a WebSocket: a client's events, and a dialogue on the clock."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from fastapi import WebSocket

from quintet.config import SAMPLE_RATE
from quintet.serve.api.formats import decode_base64
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import Settings
from quintet.serve.conductor import Conductor
from quintet.serve.connection import STEP_SECONDS
from quintet.serve.metrics import Metrics
from quintet.serve.realtime import events
from quintet.serve.realtime.api_socket import ApiConnection, picture_url
from quintet.serve.realtime.dialogue import Dialogue
from quintet.serve.realtime.events import Event
from quintet.serve.realtime.items import Entry, Item, parse_item
from quintet.serve.realtime.response import DELTAS
from quintet.serve.turn_mode import TurnMode

MAX_APPEND = 15 * 2**20  # characters of one piece of sound
LONG = 100_000  # characters of sound whose decoding belongs to another thread
MAX_ITEMS = 64  # of one response's own input
AHEAD = 32  # steps at once with push-to-talk, while the model has time
SHARE = 0.7  # of a step's 250 ms that such steps may take


class RealtimeConnection(ApiConnection):
    """Serves a client of the Realtime API."""

    def __init__(
        self,
        socket: WebSocket,
        conductor: Conductor,
        metrics: Metrics,
        turns: TurnMode,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(socket, conductor, metrics, turns)
        self.cancelled = ""  # the response of which nothing more may be sent
        settings = settings or Settings(model=conductor.model.config.name)
        self.dialogue = Dialogue(
            settings, self._tell, self._forget, self._transcribe_item, conductor.model
        )
        self.voice = self.dialogue.voice.name

    # ---- reader

    async def _take(self, event: dict[str, Any]) -> None:
        kind, dialogue = event["type"], self.dialogue
        if kind == "input_audio_buffer.append":
            await self._append(event.get("audio"))
            return
        self._note_activity()
        if kind == "session.update":
            dialogue.update(event.get("session"))
        elif kind == "input_audio_buffer.commit":
            dialogue.commit()
        elif kind == "input_audio_buffer.clear":
            dialogue.clear()
        elif kind == "conversation.item.create":
            item = await asyncio.to_thread(parse_item, event.get("item"))
            dialogue.create(item, event.get("previous_item_id"))
        elif kind == "conversation.item.retrieve":
            dialogue.retrieve(event.get("item_id"))
        elif kind == "conversation.item.truncate":
            index, end = event.get("content_index"), event.get("audio_end_ms")
            dialogue.truncate(event.get("item_id"), index, end)
        elif kind == "conversation.item.delete":
            dialogue.delete(event.get("item_id"))
        elif kind == "response.create":
            await self._respond(event.get("response"))
        elif kind == "response.cancel":
            dialogue.cancel(event.get("response_id"))
        elif kind != "output_audio_buffer.clear":  # of WebRTC: here the client holds that buffer
            raise RequestError(
                f"There is no event {kind[:64]!r}; see docs/realtime-api.md.",
                "invalid_value", "type",
            )  # fmt: skip

    async def _append(self, audio: object) -> None:
        if isinstance(audio, str) and len(audio) > MAX_APPEND:
            raise RequestError(
                "One piece of sound may have 15 MiB; send it in shorter ones.",
                "invalid_audio", "audio",
            )  # fmt: skip
        if isinstance(audio, str) and len(audio) > LONG:
            data = await asyncio.to_thread(decode_base64, audio, "audio")
        else:
            data = decode_base64(audio, "audio")
        self._listen(self.dialogue.ears.append(data))

    async def _respond(self, response: object) -> None:
        """`response.create`, whose own input may hold media and references."""
        given = response.get("input") if isinstance(response, dict) else None
        if given is None:
            self.dialogue.respond(response, None)
            return
        entries: list[Entry] = []
        for value in given[:MAX_ITEMS] if isinstance(given, list) else []:
            if isinstance(value, dict) and value.get("type") == "item_reference":
                code = "item_reference_invalid_item_id"
                value = self.dialogue.conversation.find(value.get("id"), code).public(whole=True)
            entries += (await asyncio.to_thread(parse_item, value)).entries
            self.dialogue.check_room(entries)  # before more is decoded: small files can be large
        self.dialogue.respond(response, entries)

    # ---- ticker

    async def _step(self, seat: int) -> None:
        clock = asyncio.get_running_loop().time
        self.dialogue.ears.queue.lose(self.skipped)
        self.skipped = 0
        for _ in range(AHEAD):
            began = clock()
            while self.voice != self.dialogue.voice.name:  # chosen before anything was said
                self.voice = self.dialogue.voice.name
                await self.conductor.renew(seat, self.voice)
            output = await self._ask(seat, *self.dialogue.given())
            if self.voice != self.dialogue.voice.name:  # meanwhile: it has heard only silence
                return
            picture = None
            if output.image is not None and self.dialogue.wants_pictures:
                picture = await asyncio.to_thread(picture_url, output)
            self.dialogue.answered(output, picture)
            # What was recorded need not be heard at the pace at which it was spoken.
            in_time = clock() - self.deadline + (clock() - began) < SHARE * STEP_SECONDS
            if not (self.dialogue.hurried and in_time):
                return

    # ---- writer

    def _tell(self, event: Event) -> None:
        if event["type"] == "response.done":
            self.metrics.responses[event["response"]["status"]] += 1
        self._queue(event, event["response_id"] if event["type"] in DELTAS else None)

    def _forget(self, response_id: str) -> None:
        self.cancelled = response_id

    def _obsolete(self, response: str | None) -> bool:
        return response is not None and response == self.cancelled

    def _error(self, problem: RequestError, event_id: str | None) -> dict[str, Any]:
        return events.error(problem, event_id)

    def _transcribe_item(self, item: Item, sound: np.ndarray) -> None:
        def done(transcript: str) -> None:
            item.parts[0].fields["transcript"] = transcript
            for event in events.transcribed(item.id, transcript, len(sound) / SAMPLE_RATE):
                self._tell(event)

        def failed(message: str) -> None:
            self._tell(events.transcription_failed(item.id, message))

        self.transcripts.begin(sound, done, failed)
