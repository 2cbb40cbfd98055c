"""The application: the page, health, metrics, and the routes of all protocols."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from quintet.serve.conductor import Conductor, LiveModel
from quintet.serve.keys import Keys
from quintet.serve.metrics import Metrics
from quintet.serve.redaction import redact_libraries, redacted
from quintet.serve.rest.requests import Api
from quintet.serve.rest.routes import add_endpoints
from quintet.serve.sockets import Sockets
from quintet.serve.turn_mode import TurnMode, TurnModel

PAGE = Path(__file__).parent / "page"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "Cache-Control": "no-cache",  # files are revalidated, so a new version is seen at once
}

log = redacted(__name__)


class ServedModel(LiveModel, TurnModel, Protocol):
    """What the server needs of `quintet.live.Quintet`."""


class Server:
    """The engine with its thread, turn mode with its own, and the places for sessions."""

    def __init__(self, model: ServedModel, max_sessions: int, keys: Keys) -> None:
        self.metrics = Metrics(max_sessions)
        self.conductor = Conductor(model, max_sessions, metrics=self.metrics)
        self.turns = TurnMode(model, self.conductor.give_way)
        self.keys = keys
        self.sockets = Sockets(self.conductor, self.turns, self.metrics, keys)
        self.warm = False

    def busy(self) -> bool:
        """Whether somebody would be cut off if the server stopped now."""
        return self.metrics.sessions > 0 or self.turns.busy

    async def warm_up(self) -> None:
        """Let the model compute a first step before a person waits for it.

        What is there then, libraries above all, stays as long as the server: Python need not look
        through it for garbage again, which takes 170 ms of two slow cores, in the middle of a step.
        """
        try:
            await self.conductor.warm_up()
            gc.collect()
            gc.freeze()
            self.warm = True
        except Exception:  # the server stays up, not ready, and says why
            log.exception("The model failed its first step.")


def create_app(
    model: ServedModel,
    max_sessions: int = 8,
    hosts: Sequence[str] | None = None,
    keys: Keys | None = None,
) -> FastAPI:
    """The application for `model`.

    Args:
        hosts: names by which browsers may call the server, any if None. On a person's own
            machine it should hold the loopback names only, so that no website can reach the
            server under a name of its own that it points there.
        keys: that open everything but the page's files, health and metrics; everybody if None.
    """
    redact_libraries()
    server = Server(model, max_sessions, keys or Keys())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(server.warm_up())
        yield
        warming.cancel()
        server.conductor.close()
        server.turns.close()
        if server.warm:  # and has frozen; whoever embeds this application may go on
            gc.unfreeze()

    # The built-in API pages load scripts from elsewhere, which this server's policy forbids.
    app = FastAPI(title="Quintet", lifespan=lifespan, openapi_url=None)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.state.server = server
    _add_routes(app, server)
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    return app


def _add_routes(app: FastAPI, server: Server) -> None:
    @app.middleware("http")
    async def add_headers(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    def ready() -> JSONResponse:
        refusal = server.sockets.refusal()
        body = {
            "ready": server.warm and refusal is None,
            "warm": server.warm,
            "draining": server.metrics.draining,
            "sessions": server.metrics.sessions,
            "max_sessions": server.metrics.max_sessions,
            "step_seconds": round(server.metrics.step_seconds(0.5), 4),
        }
        return JSONResponse(body, 200 if body["ready"] else 503)

    @app.get("/metrics")
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(server.metrics.prometheus(), media_type="text/plain")

    app.add_api_websocket_route("/live", server.sockets.page)
    app.add_api_websocket_route("/v1/realtime", server.sockets.realtime)
    app.add_api_websocket_route("/v1/live/sessions", server.sockets.live)
    add_endpoints(app, Api(server.conductor.model.config.name, server.keys), server.turns)
