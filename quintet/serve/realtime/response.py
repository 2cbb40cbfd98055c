"""One response: an answer of the model as the events that tell it.

    response.created
      response.output_item.added, conversation.item.added, response.content_part.added
        deltas of the transcript and of the sound, or of the text
      ... .done of each, response.content_part.done, conversation.item.done,
      response.output_item.done
    response.done

The item appears with the first output: a response to which the model says nothing has none.
"""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from quintet.config import STEP_SAMPLES
from quintet.live.session import StepOutput
from quintet.serve.api.formats import SoundEncoder
from quintet.serve.api.ids import new_id
from quintet.serve.api.passed_settings import CustomVoice
from quintet.serve.api.settings import ResponseSettings, Settings, merged, validated
from quintet.serve.protocol import encode_sound
from quintet.serve.realtime.events import Event, event
from quintet.serve.realtime.items import Conversation, Item, Part

# What a cancelled response no longer sends, even if it waits in the queue already.
DELTAS = ("response.output_audio.delta", "response.output_audio_transcript.delta",
          "response.output_text.delta", "response.output_image.delta")  # fmt: skip
MAX_SPOKEN = 600 * 48_000  # bytes of one answer kept for retrieval


@dataclass(frozen=True)
class Wishes:
    """What a response is to be: from the session, and from `response.create`."""

    speaks: bool
    images: bool
    format: dict[str, Any]
    voice: str
    max_tokens: int | str
    metadata: dict[str, str] | None = None


def wishes_of(session: Settings, wished: ResponseSettings, images: bool) -> Wishes:
    """What a response is to be: as the session has it, where `wished` says nothing else.

    Raises:
        RequestError: its sound is wished for in a form that there is not.
    """
    output = session.audio.output
    if wished.audio:
        laid = merged(session.audio.model_dump(), wished.audio)
        output = validated(type(session.audio), laid, "response.audio").output
    modalities = wished.output_modalities or session.output_modalities
    most = wished.max_output_tokens or session.max_output_tokens
    voice = output.voice  # of which a response tells the name alone
    name = voice.id if isinstance(voice, CustomVoice) else voice
    return Wishes(
        "audio" in modalities, images, output.format.model_dump(), name, most, wished.metadata,
    )  # fmt: skip


class Response:
    """In progress until `finish`."""

    def __init__(self, wishes: Wishes, conversation: Conversation, read: Counter[str]) -> None:
        self.id = new_id("resp")
        self.wishes, self.conversation = wishes, conversation
        self.item: Item | None = None
        self.status = "in_progress"
        self.waited = 0  # steps in which the model had everything and said nothing
        self.tokens: Counter[str] = Counter()  # written, by modality
        self.text = ""
        self.steps = 0  # of sound
        self._read = read  # tokens that the model reads for it, by modality
        self._previous: str | None = None
        self._spoken = bytearray()  # PCM16 at 24 kHz
        self._gap = 0  # silent steps since the last sound, sent only if more sound follows
        self._encoder = SoundEncoder(wishes.format["type"])

    def created(self) -> Event:
        return event("response.created", response=self._public())

    def deliver(self, output: StepOutput, picture: str | None = None) -> list[Event]:
        """A step of the answer; `picture` is the data URL of what it drew."""
        made: list[Event] = [] if self.item else self._begin()
        for kind in ("text", "audio", "image"):
            self.tokens[kind] += output.counts[f"{kind}_out"]
        if output.text:
            self.text += output.text
            name = "output_audio_transcript" if self.wishes.speaks else "output_text"
            made.append(self._told(f"response.{name}.delta", delta=output.text))
        if self.wishes.speaks:
            made += self._sound(output)
        if picture and self.wishes.images:
            kind = "done" if output.image_done else "delta"
            made.append(self._told(f"response.output_image.{kind}", image_url=picture))
        return made

    @property
    def full(self) -> bool:
        """Whether it has as many tokens as it may."""
        most = self.wishes.max_tokens
        return isinstance(most, int) and self.tokens.total() >= most

    def finish(self, status: str, reason: str | None = None) -> list[Event]:
        """The end: completed, cancelled or incomplete."""
        self.status = status
        made = self._end_item() if self.item else []
        details: dict[str, Any] = {"type": status}
        if reason:
            details["reason"] = reason
        told = self._public() | {"status_details": details, "usage": self._usage()}
        if self.item:
            told["output"] = [self.item.public()]
        return [*made, event("response.done", response=told)]

    def _begin(self) -> list[Event]:
        kind, words = (
            ("output_audio", "transcript") if self.wishes.speaks else ("output_text", "text")
        )
        fields = {"type": "message", "role": "assistant"}
        item = self.item = Item(new_id("item"), fields, status="in_progress")
        self._previous = self.conversation.add(item)
        made = [
            event("response.output_item.added", response_id=self.id, output_index=0,
                  item=item.public()),
            event("conversation.item.added", previous_item_id=self._previous, item=item.public()),
            self._told("response.content_part.added", part=self._part("")),
        ]  # fmt: skip
        item.parts.append(Part({"type": kind, words: ""}))
        return made

    def _sound(self, output: StepOutput) -> list[Event]:
        if not (output.speaking or output.audio.any()):
            self._gap += 1
            return []
        sound = output.audio
        if self._gap and self._spoken:  # a pause inside the answer
            sound = np.concatenate([np.zeros(self._gap * STEP_SAMPLES, np.float32), sound])
        self._gap = 0
        self.steps += len(sound) // STEP_SAMPLES
        self._keep(sound)
        return self._audio_delta(self._encoder.encode(sound))

    def _keep(self, sound: np.ndarray) -> None:
        if len(self._spoken) < MAX_SPOKEN:
            self._spoken += encode_sound(sound)

    def _audio_delta(self, data: bytes) -> list[Event]:
        if not data:  # the resampler of a telephone's format kept it back
            return []
        delta = base64.b64encode(data).decode("ascii")
        return [self._told("response.output_audio.delta", delta=delta)]

    def _end_item(self) -> list[Event]:
        assert self.item is not None
        made: list[Event] = []
        self.item.status = "completed" if self.status == "completed" else "incomplete"
        part = self.item.parts[0]
        if self.wishes.speaks:
            part.fields["transcript"] = self.text
            part.media["audio"] = bytes(self._spoken)
            if self.status != "cancelled" and self._spoken:
                made += self._audio_delta(self._encoder.encode(np.zeros(0, np.float32), last=True))
            made += [
                self._told("response.output_audio.done"),
                self._told("response.output_audio_transcript.done", transcript=self.text),
            ]
        else:
            part.fields["text"] = self.text
            made.append(self._told("response.output_text.done", text=self.text))
        self.conversation.tidy()
        return [
            *made,
            self._told("response.content_part.done", part=self._part(self.text)),
            event("conversation.item.done", previous_item_id=self._previous,
                  item=self.item.public()),
            event("response.output_item.done", response_id=self.id, output_index=0,
                  item=self.item.public()),
        ]  # fmt: skip

    def _part(self, words: str) -> dict[str, str]:
        """A content part in the words of its own events, where its type is "audio" or "text"."""
        if self.wishes.speaks:
            return {"type": "audio", "transcript": words}
        return {"type": "text", "text": words}

    def _told(self, kind: str, **fields: Any) -> Event:
        assert self.item is not None
        return event(kind, response_id=self.id, item_id=self.item.id, output_index=0,
                     content_index=0, **fields)  # fmt: skip

    def _public(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "id": self.id,
            "object": "realtime.response",
            "status": self.status,
            "status_details": None,
            "output": [],
            "conversation_id": self.conversation.id,
            "output_modalities": ["audio" if self.wishes.speaks else "text"],
            "max_output_tokens": self.wishes.max_tokens,
            "usage": None,
            "metadata": self.wishes.metadata,
        }
        if self.wishes.speaks:
            told["audio"] = {"output": {"format": self.wishes.format, "voice": self.wishes.voice}}
        return told

    def _usage(self) -> dict[str, Any]:
        """Rows of the model: a word piece, a frame of sound, or a patch of a picture each."""
        read, written = self._read, self.tokens
        return {
            "total_tokens": read.total() + written.total(),
            "input_tokens": read.total(),
            "output_tokens": written.total(),
            "input_token_details": {
                "text_tokens": read["text"], "audio_tokens": read["audio"],
                "image_tokens": read["image"], "cached_tokens": 0,
            },
            "output_token_details": {
                "text_tokens": written["text"] + written["image"],
                "audio_tokens": written["audio"],
            },
        }  # fmt: skip
