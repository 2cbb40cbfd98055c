"""The endpoints under /v1, and their errors."""

from __future__ import annotations

import asyncio
import io
import time
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import JSONResponse, StreamingResponse
from PIL import Image
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from quintet.serve.api.problems import RequestError
from quintet.serve.protocol import MAX_TEXT
from quintet.serve.rest.chat_api import ChatRequest, Completion
from quintet.serve.rest.client_secrets import SecretRequest, make_secret
from quintet.serve.rest.description import (
    COMPLETION,
    FILE_FORM,
    MODEL,
    MODELS,
    PICTURES,
    SECRET,
    STRING,
    TRANSCRIPT,
    add_description,
    described,
)
from quintet.serve.rest.requests import (
    RAW_FORMATS,
    SOUND_FORMATS,
    Api,
    answer,
    encode_text,
    media_type,
)
from quintet.serve.rest.sound_api import SpeechRequest, speak, transcribe
from quintet.serve.turn_mode import TurnMode
from quintet.serve.voices import voice_header, voice_names

JSON, EVENTS = "application/json", "text/event-stream"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
DRAW = "draw {}"  # an order that the model knows, for a prompt that is none by itself


class ImageRequest(BaseModel):
    """What is looked at: the model draws in one size."""

    prompt: str = Field(min_length=1, max_length=MAX_TEXT)
    n: int | None = Field(default=None, ge=1, le=4)
    response_format: str | None = None
    stream: bool | None = None


def add_endpoints(app: FastAPI, api: Api, turns: TurnMode) -> None:
    """Add /v1/models, chat/completions, audio/..., images/..., realtime/client_secrets."""

    _tell_errors(app)
    add_description(app)
    _add_models(app, api, turns)

    completion = {JSON: COMPLETION, EVENTS: STRING}
    said = "An answer in words and sound; /v1/images/generations gives pictures."

    @app.post("/v1/chat/completions", **described(said, completion, ChatRequest))
    async def chat(request: Request) -> Response:
        async with api.json(request, ChatRequest) as wish:
            asked = Completion(api.name, wish, turns)
            await asked.prepare()
            told = voice_header(asked.voice, turns.model) if asked.speaks else None
            if asked.asked.stream:
                return StreamingResponse(asked.pieces(), media_type=EVENTS, headers=told)
            return JSONResponse(await asked.whole(), headers=told)

    sounds = dict.fromkeys([media_type(kind) for kind in (*SOUND_FORMATS, *RAW_FORMATS)], STRING)

    @app.post("/v1/audio/speech", **described("A text, spoken.", sounds, SpeechRequest))
    async def speech(request: Request) -> Response:
        return await speak(api, turns, request)

    words = {JSON: TRANSCRIPT, "text/plain": STRING, EVENTS: STRING}

    @app.post("/v1/audio/transcriptions", **described("Speech, written.", words, FILE_FORM))
    async def transcriptions(request: Request) -> Response:
        return await transcribe(api, turns, request)

    @app.post("/v1/images/generations", **described("Pictures.", {JSON: PICTURES}, ImageRequest))
    async def images(request: Request) -> Response:
        async with api.json(request, ImageRequest) as asked:
            return JSONResponse(await draw(turns, asked))

    secret = described("A key for a browser, which expires.", {JSON: SECRET}, SecretRequest)

    @app.post("/v1/realtime/client_secrets", **secret)
    async def client_secrets(request: Request) -> Response:
        async with api.json(request, SecretRequest) as asked:
            return JSONResponse(make_secret(api, asked))

    _refuse_others(app, api)


def _add_models(app: FastAPI, api: Api, turns: TurnMode) -> None:
    about = {"id": api.name, "object": "model", "created": api.began, "owned_by": "quintet",
             "voices": voice_names(turns.model)}  # fmt: skip

    @app.get("/v1/models", **described("The one model.", {JSON: MODELS}))
    def models(request: Request) -> dict[str, Any]:
        api.admit(request)
        return {"object": "list", "data": [about]}

    @app.get("/v1/models/{name:path}", **described("A model by its name.", {JSON: MODEL}))
    def model(request: Request, name: str) -> dict[str, Any]:
        api.admit(request)
        if name != api.name:
            raise RequestError(
                f"There is no model {name!r}; this server has {api.name}.", "model_not_found",
                "model", 404,
            )  # fmt: skip
        return about


def _tell_errors(app: FastAPI) -> None:
    """Every error has one shape."""

    @app.exception_handler(RequestError)
    async def refuse(_: Request, error: RequestError) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse({"error": error.body()}, error.status, headers)

    @app.exception_handler(HTTPException)
    async def not_here(request: Request, error: HTTPException) -> Response:
        """What matched no route, such as a path with a line break in it."""
        if not request.url.path.startswith("/v1/"):
            return await http_exception_handler(request, error)
        problem = RequestError(f"{error.detail}; see docs/realtime-api.md.", "not_found")
        return JSONResponse({"error": problem.body()}, error.status_code, error.headers)


def _refuse_others(app: FastAPI, api: Api) -> None:
    """Paths that are not there, and methods that a path has not."""

    @app.api_route("/v1/{path:path}", methods=METHODS, include_in_schema=False)
    def nothing(request: Request, path: str) -> Response:
        api.admit(request)
        matches = [(one, one.matches(request.scope)[0]) for one in app.routes]
        methods = {name for one, match in matches if match is Match.PARTIAL
                   for name in getattr(one, "methods", None) or ()}  # fmt: skip
        if not methods:
            raise RequestError(
                f"There is no /v1/{path[:64]} here; see docs/realtime-api.md.", "not_found",
                status=404,
            )  # fmt: skip
        allowed = ", ".join(sorted(methods))
        problem = RequestError(f"Only {allowed} is allowed here; use it.", "method_not_allowed")
        return JSONResponse({"error": problem.body()}, 405, {"Allow": allowed})


async def draw(turns: TurnMode, asked: ImageRequest) -> dict[str, Any]:
    """Pictures of the prompt, as PNG in base64.

    Raises:
        RequestError: the model draws nothing, or another form is wanted.
    """
    if asked.stream or asked.response_format not in (None, "b64_json"):
        raise RequestError(
            "Pictures come as b64_json, at once; ask for that.", "unsupported", "response_format"
        )
    told: list[dict[str, str]] = []
    for _ in range(asked.n or 1):
        pictures = await _drawn(turns, asked.prompt)
        if not pictures:  # such as "a cat."
            pictures = await _drawn(turns, DRAW.format(asked.prompt))
        if not pictures:
            raise RequestError(
                "The model drew nothing; try a thing of its world, such as: a cat.",
                "nothing_drawn", status=422,
            )  # fmt: skip
        told.append({"b64_json": await asyncio.to_thread(_png, pictures[0])})
    return {"created": int(time.time()), "data": told}


async def _drawn(turns: TurnMode, order: str) -> list[Any]:
    return (await answer(turns, [{"role": "user", "content": order}])).images


def _png(pixels: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return encode_text(file.getvalue())
