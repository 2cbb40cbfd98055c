"""The HTTP side: the page, health, metrics, and who may open a live session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from quintet.serve.conductor import Conductor, LiveModel
from quintet.serve.connection import STEP_SECONDS, close
from quintet.serve.live_socket import LiveConnection
from quintet.serve.metrics import Metrics
from quintet.serve.protocol import error_event

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

log = logging.getLogger(__name__)


class Server:
    """The engine with its thread, and the places for sessions."""

    def __init__(self, model: LiveModel, max_sessions: int) -> None:
        self.conductor = Conductor(model, max_sessions)
        self.metrics = Metrics(max_sessions)
        self.warm = False

    async def warm_up(self) -> None:
        """Let the model compute a first step before a person waits for it."""
        try:
            await self.conductor.warm_up()
            self.warm = True
        except Exception:  # the server stays up, not ready, and says why
            log.exception("The model failed its first step.")

    def refusal(self) -> tuple[str, str] | None:
        """Why no further session can begin: a short word and a sentence, or None."""
        metrics = self.metrics
        if metrics.sessions >= metrics.max_sessions:
            return "full", "All places for conversations are taken; try again later."
        # A step of the engine is one of all sessions together.
        needed = metrics.step_seconds(0.5) * (metrics.sessions + 1) / max(1, metrics.sessions)
        if metrics.sessions and needed > STEP_SECONDS:
            return "busy", "The machine is too slow for one more conversation; try again later."
        return None

    async def live(self, socket: WebSocket) -> None:
        """A WebSocket from its handshake to its end."""
        if not same_origin(socket.headers.get("origin"), socket.headers.get("host")):
            self.metrics.rejected["origin"] += 1
            await socket.close(1008)  # before the handshake: HTTP 403
            return
        await socket.accept()
        refusal = self.refusal()
        if refusal:
            self.metrics.rejected[refusal[0]] += 1
            await close(socket, error_event(refusal[1]), 1013, refusal[1])
            return
        self.metrics.sessions += 1
        try:
            await LiveConnection(socket, self.conductor, self.metrics).run()
        finally:
            self.metrics.sessions -= 1


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a browser's page of this very server asks. Programs send no origin: they may.

    Browsers let any website open a WebSocket to any host; without this, every page that a person
    visits could talk to the model on their machine.
    """
    try:
        return origin is None or (host is not None and urlsplit(origin).netloc == host)
    except ValueError:  # such as http://[
        return False


def create_app(
    model: LiveModel, max_sessions: int = 8, hosts: Sequence[str] | None = None
) -> FastAPI:
    """The application for `model`.

    Args:
        hosts: names by which browsers may call the server, any if None. On a person's own
            machine it should hold the loopback names only, so that no website can reach the
            server under a name of its own that it points there.
    """
    server = Server(model, max_sessions)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(server.warm_up())
        yield
        warming.cancel()
        server.conductor.close()

    # The built-in API pages load scripts from elsewhere, which this server's policy forbids.
    app = FastAPI(title="Quintet", lifespan=lifespan, openapi_url=None)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
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
        refusal = server.refusal()
        body = {
            "ready": server.warm and refusal is None,
            "warm": server.warm,
            "sessions": server.metrics.sessions,
            "max_sessions": server.metrics.max_sessions,
            "step_seconds": round(server.metrics.step_seconds(0.5), 4),
        }
        return JSONResponse(body, 200 if body["ready"] else 503)

    @app.get("/metrics")
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(server.metrics.prometheus(), media_type="text/plain")

    app.add_api_websocket_route("/live", server.live)
