"""The handshakes: who may open which socket, and what it becomes."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from fastapi import WebSocket
from fastapi.responses import JSONResponse

from quintet.serve.api.problems import RequestError
from quintet.serve.conductor import Conductor
from quintet.serve.connection import STEP_SECONDS, Connection, close
from quintet.serve.keys import Keys
from quintet.serve.live_socket import LiveConnection
from quintet.serve.metrics import Metrics
from quintet.serve.protocol import error_event
from quintet.serve.realtime import events
from quintet.serve.realtime.live_api_socket import LiveApiConnection
from quintet.serve.realtime.realtime_socket import RealtimeConnection
from quintet.serve.turn_mode import TurnMode

SUBPROTOCOL = "realtime"
BETA_CLOSED = 4000  # close code of clients that speak the form that is no more
NO_KEY = "The API key is missing, wrong or expired; send a valid one as Authorization: Bearer."


class Sockets:
    """All live sessions of a server, whatever their protocol."""

    def __init__(self, conductor: Conductor, turns: TurnMode, metrics: Metrics, keys: Keys) -> None:
        self.conductor, self.turns, self.metrics, self.keys = conductor, turns, metrics, keys

    def refusal(self) -> tuple[str, str] | None:
        """Why no further session can begin: a short word and a sentence, or None."""
        metrics = self.metrics
        if metrics.draining:
            return "draining", "The server is about to stop; try again in a moment."
        if metrics.sessions >= metrics.max_sessions:
            return "full", "All places for conversations are taken; try again later."
        if metrics.seconds_with_one_more() > STEP_SECONDS:
            return "busy", "The machine is too slow for one more conversation; try again later."
        return None

    async def page(self, socket: WebSocket) -> None:
        """The page's own protocol, from the handshake to the end."""
        if not await self._admitted(socket):
            return
        refusal = self.refusal()
        if refusal:  # told over the socket, for a page cannot read what HTTP says
            self.metrics.rejected[refusal[0]] += 1
            await socket.accept(self._subprotocol(socket))
            await close(socket, error_event(refusal[1]), 1013, refusal[1])
            return
        await self._serve(
            socket, lambda: LiveConnection(socket, self.conductor, self.metrics, self.turns)
        )

    async def realtime(self, socket: WebSocket) -> None:
        """The Realtime API."""
        if not await self._admitted(socket):
            return
        if "realtime=v1" in socket.headers.get("openai-beta", "").replace(" ", ""):
            self.metrics.rejected["beta"] += 1
            problem = RequestError(
                "The beta form of the Realtime API is no more; leave out the header OpenAI-Beta.",
                "beta_api_shape_disabled",
            )
            await socket.accept(self._subprotocol(socket))
            event = events.error(problem, None)
            await close(socket, event, BETA_CLOSED, "beta_api_shape_disabled")
        elif await self._has_place(socket):
            settings = self.keys.settings(*_credentials(socket))
            await self._serve(
                socket,
                lambda: RealtimeConnection(
                    socket, self.conductor, self.metrics, self.turns, settings
                ),
            )

    async def live(self, socket: WebSocket) -> None:
        """The Live API."""
        if await self._admitted(socket) and await self._has_place(socket):
            await self._serve(
                socket,
                lambda: LiveApiConnection(socket, self.conductor, self.metrics, self.turns),
            )

    async def _admitted(self, socket: WebSocket) -> bool:
        """Whether the client may come in at all; if not, it has been told so by HTTP."""
        if not same_origin(socket.headers.get("origin"), socket.headers.get("host")):
            self.metrics.rejected["origin"] += 1
            await socket.close(1008)  # before the handshake: HTTP 403
            return False
        if not self.keys.allow_session(*_credentials(socket)):
            self.metrics.rejected["key"] += 1
            await deny(socket, RequestError(NO_KEY, "invalid_api_key", status=401))
            return False
        return True

    async def _has_place(self, socket: WebSocket) -> bool:
        refusal = self.refusal()
        if not refusal:
            return True
        self.metrics.rejected[refusal[0]] += 1
        await deny(socket, RequestError(refusal[1], refusal[0], status=503, kind="server_error"))
        return False

    async def _serve(self, socket: WebSocket, make: Callable[[], Connection]) -> None:
        """Take the place, before anything is waited for; then accept, and serve."""
        self.metrics.sessions += 1
        try:
            await socket.accept(self._subprotocol(socket))
            await make().run()
        finally:
            self.metrics.sessions -= 1

    @staticmethod
    def _subprotocol(socket: WebSocket) -> str | None:
        """Exactly this one is answered to who offers it: never what holds a key."""
        return SUBPROTOCOL if SUBPROTOCOL in socket.scope.get("subprotocols", []) else None


def _credentials(socket: WebSocket) -> tuple[str | None, list[str]]:
    """Where a client's key may stand: the header, and the subprotocols that it offers."""
    return socket.headers.get("authorization"), socket.scope.get("subprotocols", [])


async def deny(socket: WebSocket, problem: RequestError) -> None:
    """Answer a handshake with an error of HTTP."""
    response = JSONResponse({"error": problem.body()}, problem.status)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(response)
    else:  # an older server of ours can only refuse
        await socket.close(1008)


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a browser's page of this very server asks. Programs send no origin: they may.

    Browsers let any website open a WebSocket to any host; without this, every page that a person
    visits could talk to the model on their machine.
    """
    try:
        return origin is None or (host is not None and urlsplit(origin).netloc == host)
    except ValueError:  # such as http://[
        return False
