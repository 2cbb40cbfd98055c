"""The server: protocol, limits, metrics and the page around live sessions."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

import uvicorn

from quintet.config import UserError
from quintet.serve.app import ServedModel, create_app
from quintet.serve.drain import DRAIN_SECONDS, DrainingServer
from quintet.serve.keys import Keys
from quintet.serve.protocol import MAX_FRAME
from quintet.serve.recorder import RecordedModel, Recorder
from quintet.serve.wire import PatientHttp, PatientWebSocket

MAX_CONNECTIONS = 512  # of which a few are sessions; the rest may be slow, but not many
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")

__all__ = ["create_app", "serve"]


def serve(
    model: ServedModel,
    host: str = "127.0.0.1",
    port: int = 8321,
    max_sessions: int = 8,
    key_file: Path | None = None,
    certificate: Path | None = None,
    recorder: Recorder | None = None,
    drain_seconds: float = DRAIN_SECONDS,
) -> None:
    """Serve `model` and its page until interrupted.

    Args:
        key_file: one API key a line, of those who may enter; without it, everybody may.
        certificate: a PEM file with the private key and the chain; without it, no TLS.
        recorder: writes all sessions down; without it, nothing of what is said is kept.
        drain_seconds: that sessions may go on after SIGTERM.

    Raises:
        UserError: the port is taken or may not be used, the host is not of this machine, or the
            files hold no keys or no certificate.
    """
    keys = Keys.read(key_file) if key_file else None
    if certificate:
        check_certificate(certificate)
    listening = listen(host, port)
    if recorder:
        model = RecordedModel(model, recorder)
    app = create_app(model, max_sessions, LOOPBACK if host in LOOPBACK else None, keys)
    inside, config = app.state.server, uvicorn_config(app, certificate)
    server = DrainingServer(config, inside.metrics, inside.busy, drain_seconds)
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if certificate else "http"
    address = f"{scheme}://{shown}:{listening.getsockname()[1]}"
    print(f"Quintet ({model.config.name}) listens at {address}; Ctrl-C stops it.", flush=True)
    if recorder:
        print(f"All that is said is written down in {recorder.folder}.", flush=True)
    try:
        with listening:
            server.run(sockets=[listening])
    finally:
        if recorder:
            recorder.close()


def uvicorn_config(app: object, certificate: Path | None = None) -> uvicorn.Config:
    """How the server runs: without compression, which sound and pictures do not need."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=PatientHttp,
        ws=PatientWebSocket,
        ws_max_size=MAX_FRAME,
        ws_per_message_deflate=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,
        limit_concurrency=MAX_CONNECTIONS,
        ssl_certfile=certificate,
    )


def check_certificate(path: Path) -> None:
    """Load the file once, so that a mistake is told before the model's page is.

    Raises:
        UserError: no such file, or no key and certificate that belong together in it.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(path)
    except OSError:  # an SSLError is one
        raise UserError(
            f"{path} is no certificate; name a PEM file with a private key and its certificate."
        ) from None


def listen(host: str, port: int) -> socket.socket:
    """A bound socket: taken here, so that a port in use is told before the model's page is.

    Raises:
        UserError: as `serve`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host.strip("[]"), port))
        bound.listen(128)
    except OverflowError:
        bound.close()
        raise UserError(f"There is no port {port}; choose one up to 65535 with --port.") from None
    except OSError as error:
        bound.close()
        raise _no_port(error, host, port) from None
    return bound


def _no_port(error: OSError, host: str, port: int) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return UserError(
            f"Port {port} is taken; stop the other program or choose another with --port "
            "(make live PORT=NUMBER)."
        )
    if error.errno == errno.EACCES:
        return UserError(f"Port {port} needs more rights; choose one above 1023 with --port.")
    return UserError(f"This machine has no address {host!r}; choose another with --host.")
