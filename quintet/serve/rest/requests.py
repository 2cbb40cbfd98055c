"""What all endpoints share: who may ask, how much may come, and how errors are told."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import Message
from typing import Any

import numpy as np
import soundfile
from fastapi import Request
from pydantic import BaseModel

from quintet.config import SAMPLE_RATE, UserError
from quintet.live.turns import TurnReply
from quintet.serve.api.frames import parse_json
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import validated
from quintet.serve.keys import Keys
from quintet.serve.redaction import redacted
from quintet.serve.sockets import NO_KEY, same_origin
from quintet.serve.turn_mode import WAITING, BusyError, TurnMode

MAX_BODY = 32 * 2**20  # bytes of a request
MAX_COMING = 8 * MAX_BODY  # of all that are on their way, or not yet answered
AT_WORK = 2 * WAITING  # requests whose bodies are read and decoded, or that wait for an answer
BODY_SECONDS = 60.0  # that one may take to come
MAX_PARTS = 64  # of a form
MAX_HEAD = 4_096  # bytes of what stands above a part
# What soundfile calls the formats of these APIs, and what the web does.
SOUND_FORMATS = {
    "wav": ("WAV", "PCM_16", "audio/wav"),
    "flac": ("FLAC", "PCM_16", "audio/flac"),
    "mp3": ("MP3", None, "audio/mpeg"),
    "opus": ("OGG", "OPUS", "audio/ogg"),
}
RAW_FORMATS = {"pcm": "audio/pcm", "pcm16": "audio/pcm"}  # 24 kHz, 16 bits, no header

log = redacted(__name__)


class Api:
    """What an endpoint needs besides turn mode: the name of the model and the keys."""

    def __init__(self, name: str, keys: Keys) -> None:
        self.name, self.keys = name, keys
        self.began = int(time.time())
        self._coming = 0  # bytes of bodies that are on their way, or not yet answered
        self._at_work = asyncio.Semaphore(AT_WORK)

    def admit(self, request: Request) -> None:
        """Check who asks.

        Raises:
            RequestError: another website's page, or somebody without a key.
        """
        if not same_origin(request.headers.get("origin"), request.headers.get("host")):
            raise RequestError(
                "Pages of other websites may not ask; serve yours from here.",
                "foreign_origin", status=403,
            )  # fmt: skip
        if not self.keys.allow(request.headers.get("authorization")):
            raise RequestError(NO_KEY, "invalid_api_key", status=401)

    @asynccontextmanager
    async def json(self, request: Request, kind: type[BaseModel]) -> AsyncIterator[Any]:
        """The body as such a model, which counts as `body` does.

        Raises:
            RequestError: no such body, or as `admit`.
        """
        async with self.body(request) as body:
            text = body.decode("utf-8", "replace")
            values = await asyncio.to_thread(parse_json, text)
            yield validated(kind, values, "body")

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body, which counts until the caller has done with it: what is made of it waits for
        threads in a queue that has no bound of its own, and may be far larger once decoded.

        Raises:
            RequestError: it is larger than `MAX_BODY`, comes too slowly, or too many come at once;
                or as `admit`.
        """
        self.admit(request)
        body = bytearray()
        try:
            await self._receive(request, body)
            async with self._at_work:
                yield bytes(body)
        finally:
            self._coming -= len(body)

    async def _receive(self, request: Request, body: bytearray) -> None:
        """Fill `body`, and count what comes."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in request.stream():
                    body += piece
                    self._coming += len(piece)
                    if len(body) > MAX_BODY:
                        raise RequestError(
                            f"A request may have {MAX_BODY // 2**20} MiB; send less.",
                            "request_too_large", status=413,
                        )  # fmt: skip
                    if self._coming > MAX_COMING:
                        raise busy()
        except TimeoutError:
            raise RequestError(
                "The request came too slowly; send it again.", "timeout", status=408
            ) from None


def form(content_type: str, body: bytes) -> dict[str, bytes]:
    """The fields of a multipart body, files among them. Not for the event loop.

    It is cut at its boundary here, for parsers of e-mail take a minute for what a stranger can
    write in a second: a hundred thousand parts, or parts within parts.

    Raises:
        RequestError: it is none, or has too many parts.
    """
    boundary = _boundary(content_type.encode("ascii", "replace").decode()[:MAX_HEAD])
    if not boundary:
        raise RequestError("Send the file as multipart/form-data.", "invalid_content_type")
    most = MAX_PARTS + 2  # with what stands before the first and behind the last
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("ascii", "replace"), most)
    if len(pieces) > most:
        raise RequestError(f"A form may have {MAX_PARTS} parts; send fewer.", "invalid_value")
    fields: dict[str, bytes] = {}
    for piece in pieces[1:]:
        lines, _, content = piece.partition(b"\r\n\r\n")
        if len(lines) > MAX_HEAD:
            continue
        name = _name(lines.lstrip(b"\r\n"))
        if name is not None:
            fields[name] = content
    return fields


def _boundary(content_type: str) -> str | None:
    """Of a form; None where it is none, or is told in a way over which Python's parser trips."""
    head = Message(policy=policy.HTTP)
    try:
        head["content-type"] = content_type
        return head.get_boundary() if head.get_content_type() == "multipart/form-data" else None
    except Exception:  # such as UnicodeError and IndexError: it is not made for strangers
        return None


def _name(lines: bytes) -> str | None:
    """Of a part, from what stands above it; None as of `_boundary`."""
    try:
        part = message_from_bytes(lines, policy=policy.compat32)
        name = part.get_param("name", header="content-disposition")
    except Exception:  # such as TypeError
        return None
    return name if isinstance(name, str) else None


def as_request_error(error: UserError, param: str | None = None) -> RequestError:
    return RequestError(str(error), "invalid_value", param)


def busy() -> RequestError:
    return RequestError("The server is busy; try again.", "busy", status=429, kind="server_error")


async def answer(
    turns: TurnMode,
    messages: Sequence[dict[str, object]],
    seed: int | None = None,
    tell: Callable[[str], None] | None = None,
    voice: object = None,
) -> TurnReply:
    """The model's answer; the arguments are those of `TurnMode.chat`.

    Raises:
        RequestError: the model refuses the messages, too many ask, or the model failed.
    """
    try:
        return await turns.chat(messages, seed, tell, voice)
    except BusyError:
        raise busy() from None
    except UserError as error:
        raise as_request_error(error, "messages") from None
    except Exception:
        log.exception("An answer failed.")
        raise RequestError(
            "The model failed; try again.", "model_failed", status=500, kind="server_error"
        ) from None


def encode_file(sound: np.ndarray, kind: str) -> bytes:
    """A sound file of float32 [N] at 24 kHz. Not for the event loop.

    Raises:
        RequestError: a format that is not made here.
    """
    clipped = np.clip(sound, -1, 1)
    if kind in RAW_FORMATS:
        return bytes((clipped * 32_767).astype("<i2").tobytes())
    if kind not in SOUND_FORMATS:
        names = ", ".join([*SOUND_FORMATS, *RAW_FORMATS])
        raise RequestError(f"Sound comes as one of {names}; choose one.", "unsupported_format")
    name, subtype, _ = SOUND_FORMATS[kind]
    file = io.BytesIO()
    soundfile.write(file, clipped, SAMPLE_RATE, format=name, subtype=subtype)
    return file.getvalue()


def media_type(kind: str) -> str:
    return SOUND_FORMATS[kind][2] if kind in SOUND_FORMATS else RAW_FORMATS[kind]


def encode_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
