"""POST /v1/audio/speech and /v1/audio/transcriptions."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, UserError
from quintet.media.audio import read_audio_bytes
from quintet.serve.api.hearing import FRAME, SpeechDetector
from quintet.serve.api.passed_settings import Voice
from quintet.serve.api.problems import RequestError
from quintet.serve.protocol import MAX_TEXT
from quintet.serve.rest.requests import (
    Api,
    answer,
    as_request_error,
    encode_file,
    form,
    media_type,
)
from quintet.serve.turn_mode import TurnMode, transcript_of
from quintet.serve.voices import voice_header

SAY = "repeat after me: {}"  # an order that the model knows
MAX_SECONDS = 120.0  # of a file that is transcribed
LONGEST_SEGMENT = 15 * SAMPLE_RATE  # samples; a pause is waited for no longer
BEFORE = 2  # steps of sound kept before speech begins
TEXT_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")


class SpeechRequest(BaseModel):
    """What is looked at: the model speaks at one speed."""

    input: str = Field(min_length=1, max_length=MAX_TEXT)
    voice: Voice | None = None
    response_format: str = "mp3"
    stream_format: str | None = None


@dataclass(frozen=True)
class Segment:
    """A piece of a file in which somebody speaks: seconds, and the words that were heard."""

    start: float
    end: float
    text: str


async def speak(api: Api, turns: TurnMode, request: Request) -> Response:
    """A sound file of the text, as far as the model can say it."""
    async with api.json(request, SpeechRequest) as asked:
        return await _spoken(turns, asked)


async def _spoken(turns: TurnMode, asked: SpeechRequest) -> Response:
    if asked.stream_format == "sse":
        raise RequestError("Speech comes as audio; leave out sse.", "unsupported", "stream_format")
    if not asked.input.strip():
        raise RequestError("There is nothing to say; write something.", "invalid_value", "input")
    empty = np.zeros(0, np.float32)
    data = await asyncio.to_thread(encode_file, empty, asked.response_format)  # refuses early
    order = SAY.format(asked.input.encode("utf-8", "replace").decode("utf-8"))
    messages: list[dict[str, object]] = [{"role": "user", "content": order}]
    reply = await answer(turns, messages, voice=asked.voice)
    if not len(reply.audio):
        raise RequestError(
            "The model did not say this; try a text of its world.", "nothing_said", status=422
        )
    data = await asyncio.to_thread(encode_file, reply.audio, asked.response_format)
    told = voice_header(asked.voice, turns.model)
    return Response(data, media_type=media_type(asked.response_format), headers=told)


async def transcribe(api: Api, turns: TurnMode, request: Request) -> Response:
    """The words of a file, piece by piece between its pauses."""
    async with api.body(request) as body:
        return await _transcribed(turns, request.headers.get("content-type", ""), body)


async def _transcribed(turns: TurnMode, content_type: str, body: bytes) -> Response:
    fields = await asyncio.to_thread(form, content_type, body)
    kind = fields.get("response_format", b"json").decode("utf-8", "replace")
    if kind not in TEXT_FORMATS:
        raise RequestError(
            f"Transcripts come as one of {', '.join(TEXT_FORMATS)}; choose one.",
            "invalid_value", "response_format",
        )  # fmt: skip
    if "file" not in fields:
        raise RequestError("There is no file; send one.", "missing_parameter", "file")
    try:
        sound = await asyncio.to_thread(read_audio_bytes, fields["file"], MAX_SECONDS)
    except UserError as error:
        raise as_request_error(error, "file") from None
    pieces = await asyncio.to_thread(spoken_pieces, sound)
    if fields.get("stream") == b"true":
        told = _streamed(turns, sound, pieces)
        return StreamingResponse(told, media_type="text/event-stream")
    segments = [await _heard(turns, sound, start, end) for start, end in pieces]
    return _as_format(kind, segments, len(sound) / SAMPLE_RATE)


async def _heard(turns: TurnMode, sound: np.ndarray, start: int, end: int) -> Segment:
    reply = await answer(turns, transcript_of(sound[start:end]))
    return Segment(start / SAMPLE_RATE, end / SAMPLE_RATE, reply.text.strip())


async def _streamed(turns: TurnMode, sound: np.ndarray, pieces: list[tuple[int, int]]) -> Any:
    """Server-sent events: a delta for each piece, and the whole."""
    words: list[str] = []
    try:
        for start, end in pieces:
            words.append((await _heard(turns, sound, start, end)).text)
            delta = (" " if len(words) > 1 else "") + words[-1]
            yield _event({"type": "transcript.text.delta", "delta": delta})
        usage = {"type": "duration", "seconds": round(len(sound) / SAMPLE_RATE, 3)}
        yield _event({"type": "transcript.text.done", "text": " ".join(words), "usage": usage})
        yield "data: [DONE]\n\n"
    except RequestError as error:
        yield _event({"error": error.body()})


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values)}\n\n"


def spoken_pieces(sound: np.ndarray) -> list[tuple[int, int]]:
    """Where somebody speaks in float32 [N]: samples, cut at pauses."""
    detector, pieces, begun = SpeechDetector(), list[tuple[int, int]](), -1
    padded = np.pad(sound, (0, -len(sound) % STEP_SAMPLES + 4 * STEP_SAMPLES))
    for start in range(0, len(padded), STEP_SAMPLES):
        end = start + STEP_SAMPLES
        for change in detector.hear(padded[start:end]):
            if change.begins:
                begun = max(0, start - BEFORE * STEP_SAMPLES, pieces[-1][1] if pieces else 0)
            else:
                pieces.append((begun, start + (change.frame + 1) * FRAME))
        if detector.speaking and end - begun >= LONGEST_SEGMENT:
            pieces.append((begun, end))
            begun = end
    within = [(start, min(end, len(sound))) for start, end in pieces]
    return [(start, end) for start, end in within if end > start]


def _as_format(kind: str, segments: list[Segment], seconds: float) -> Response:
    text = " ".join(segment.text for segment in segments if segment.text)
    usage = {"type": "duration", "seconds": round(seconds, 3)}
    if kind == "json":
        return JSONResponse({"text": text, "usage": usage})
    if kind == "text":
        return PlainTextResponse(text + "\n")
    if kind == "verbose_json":
        told = [
            {"id": index, "start": one.start, "end": one.end, "text": one.text, "seek": 0,
             "tokens": [], "temperature": 0.0, "avg_logprob": 0.0, "compression_ratio": 1.0,
             "no_speech_prob": 0.0} for index, one in enumerate(segments)
        ]  # fmt: skip
        return JSONResponse({"task": "transcribe", "language": "english", "duration": seconds,
                             "text": text, "segments": told, "usage": usage})  # fmt: skip
    lines = ["WEBVTT", ""] if kind == "vtt" else []
    point = "." if kind == "vtt" else ","
    for index, one in enumerate(segments):
        times = f"{_time(one.start, point)} --> {_time(one.end, point)}"
        lines += [*([] if kind == "vtt" else [str(index + 1)]), times, one.text, ""]
    return PlainTextResponse("\n".join(lines) + "\n")


def _time(seconds: float, point: str) -> str:
    whole, left = divmod(round(seconds * 1_000), 1_000)
    return f"{whole // 3_600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{left:03}"
