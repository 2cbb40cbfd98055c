"""POST /v1/chat/completions: words, pictures and sound in; words and sound out."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from quintet.config import UserError
from quintet.live.turns import TurnReply
from quintet.media.audio import read_audio_bytes
from quintet.serve.api.formats import decode_base64
from quintet.serve.api.ids import new_id
from quintet.serve.api.passed_settings import Voice
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import check_tool_choice
from quintet.serve.protocol import MAX_TEXT, decode_picture, picture_body
from quintet.serve.rest.requests import (
    answer,
    as_request_error,
    encode_file,
    encode_text,
)
from quintet.serve.turn_mode import TurnMode

MAX_MESSAGES = 256
MAX_SOUND = 120.0  # seconds of one part
MAX_MEDIA = 32 * 2**20  # bytes of a request's pictures and sounds when decoded
KEPT_SECONDS = 3_600  # said of an answer's sound, which is kept nowhere: `expires_at` is required
Messages = list[dict[str, Any]]


class AudioWish(BaseModel):
    format: str = "wav"
    voice: Voice | None = None


class StreamOptions(BaseModel):
    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """What is looked at; other fields of the API are accepted and mean nothing here."""

    messages: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_MESSAGES)
    modalities: list[str] = ["text"]
    audio: AudioWish | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)  # what PyTorch takes
    tool_choice: str | dict[str, Any] | None = None


class Completion:
    """One request on its way to an answer."""

    def __init__(self, name: str, asked: ChatRequest, turns: TurnMode) -> None:
        self.name, self.asked, self.turns = name, asked, turns
        self.id, self.created = new_id("chatcmpl"), int(time.time())
        self.speaks = "audio" in asked.modalities
        self.tells_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        self.format = (asked.audio or AudioWish()).format
        self.voice = asked.audio.voice if self.speaks and asked.audio else None
        self._messages: list[dict[str, object]] = []

    async def prepare(self) -> None:
        """Read what was asked.

        Raises:
            RequestError: it cannot be given to the model.
        """
        check_tool_choice(self.asked.tool_choice, "tool_choice")
        if self.speaks and self.format not in ("wav", "mp3", "flac", "opus", "pcm16"):
            raise RequestError(
                f"There is no sound format {self.format!r}; use wav.", "invalid_value",
                "audio.format",
            )  # fmt: skip
        self._messages = await asyncio.to_thread(read_messages, self.asked.messages)

    async def whole(self) -> dict[str, Any]:
        """The answer as one object."""
        reply = await self._reply()
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
        if self.speaks:
            message |= {"content": None, "audio": await self._sound(reply)}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return self._told("chat.completion", [choice]) | {"usage": usage(reply)}

    async def pieces(self) -> AsyncIterator[str]:
        """The answer as server-sent events, words as the model writes them.

        An error after the first event can only be told as an event.
        """
        words: asyncio.Queue[str | None] = asyncio.Queue()  # None: the answer has its end
        loop = asyncio.get_running_loop()
        job = asyncio.create_task(
            self._reply(lambda text: loop.call_soon_threadsafe(words.put_nowait, text))
        )
        job.add_done_callback(lambda _: words.put_nowait(None))
        try:
            sound_id = new_id("audio")
            yield self._chunk({"role": "assistant", "content": None if self.speaks else ""})
            while (text := await words.get()) is not None:
                part = {"audio": {"id": sound_id, "transcript": text}}
                yield self._chunk(part if self.speaks else {"content": text})
            reply = job.result()
            if self.speaks:
                data = encode_text(await asyncio.to_thread(encode_file, reply.audio, self.format))
                ends = self.created + KEPT_SECONDS
                yield self._chunk({"audio": {"id": sound_id, "data": data, "expires_at": ends}})
            yield self._chunk({}, "stop")
            if self.tells_usage:
                told = self._told("chat.completion.chunk", [])
                yield _event(told | {"usage": usage(reply)})
            yield "data: [DONE]\n\n"
        except RequestError as error:
            yield _event({"error": error.body()})
        finally:
            job.cancel()

    async def _reply(self, tell: Any = None) -> TurnReply:
        """The model's answer.

        Raises:
            RequestError: the model refuses the messages, or too many ask.
        """
        return await answer(self.turns, self._messages, self.asked.seed, tell, self.voice)

    async def _sound(self, reply: TurnReply) -> dict[str, Any]:
        data = await asyncio.to_thread(encode_file, reply.audio, self.format)
        return {"id": new_id("audio"), "data": encode_text(data), "transcript": reply.text,
                "expires_at": self.created + KEPT_SECONDS}  # fmt: skip

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        told = self._told("chat.completion.chunk", [choice])
        return _event(told | ({"usage": None} if self.tells_usage else {}))

    def _told(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.name,
                "choices": choices}  # fmt: skip


def usage(reply: TurnReply) -> dict[str, Any]:
    """Rows of the model: word pieces, frames of sound, patches of pictures.

    Those of a picture that it drew are left out, as is the picture: neither a message nor its
    usage has a place for one.
    """
    count = Counter(reply.counts)
    read = count["text_in"] + count["audio_in"] + count["image_in"]
    written = count["text_out"] + count["audio_out"]
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {
            "text_tokens": count["text_in"], "audio_tokens": count["audio_in"],
            "image_tokens": count["image_in"], "cached_tokens": 0,
        },
        "completion_tokens_details": {
            "text_tokens": count["text_out"], "audio_tokens": count["audio_out"],
            "reasoning_tokens": 0,
        },
    }  # fmt: skip


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values)}\n\n"


def read_messages(messages: Messages) -> list[dict[str, object]]:
    """The messages that turn mode takes. Decodes media: not for the event loop.

    What the system or a developer says is passed over: no model here was trained on it.

    Raises:
        RequestError: a role or a part that there is not, or media that cannot be read.
    """
    read: list[dict[str, object]] = []
    size = 0  # of the media: a file of some kilobytes may hold a thousand times as much
    for index, message in enumerate(messages):
        place, role = f"messages.{index}", message.get("role")
        if role in ("system", "developer"):
            continue
        if role not in ("user", "assistant"):
            raise RequestError(
                f"There is no role {role!r} here; use user or assistant.", "invalid_value",
                f"{place}.role",
            )  # fmt: skip
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if role == "assistant" and not parts:
            continue  # it spoke, and only the id of its sound came back
        if not isinstance(parts, list) or not parts:
            raise RequestError("The message is empty; write something.", "invalid_value", place)
        given: list[str | np.ndarray] = []
        for number, part in enumerate(parts):
            given.append(_part(part, f"{place}.content.{number}"))
            size += given[-1].nbytes if isinstance(given[-1], np.ndarray) else 0
            if size > MAX_MEDIA:
                raise RequestError(
                    "The messages hold more media than the model can take; send less.",
                    "too_much_media", f"{place}.content.{number}",
                )  # fmt: skip
        read.append({"role": role, "content": given})
    return read


def _part(part: object, place: str) -> str | np.ndarray:
    kind = part.get("type") if isinstance(part, dict) else None
    value = part.get(kind) if isinstance(part, dict) and kind else None
    try:
        if kind == "text" and isinstance(value, str):
            if len(value) > MAX_TEXT:
                raise UserError(
                    f"A text may have {MAX_TEXT:,} characters and this one has {len(value):,}; "
                    "shorten it."
                )
            return value.encode("utf-8", "replace").decode("utf-8")
        if kind == "image_url" and isinstance(value, dict):
            return decode_picture(picture_body(value.get("url")))
        if kind == "input_audio" and isinstance(value, dict):
            return read_audio_bytes(decode_base64(value.get("data"), place), MAX_SOUND)
    except UserError as error:
        raise as_request_error(error, place) from None
    raise RequestError(
        f"A part is a text of up to {MAX_TEXT:,} characters, an image_url or an input_audio; "
        "send one of these.", "invalid_value", place,
    )  # fmt: skip
