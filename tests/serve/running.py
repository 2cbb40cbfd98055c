"""The server as a program runs it: a real socket, in a thread of its own."""

from __future__ import annotations

import functools
import importlib
import threading
from pathlib import Path

import uvicorn
from conftest import make_config, make_model

from quintet.serve import create_app, listen, uvicorn_config
from quintet.serve.app import ServedModel
from quintet.serve.keys import Keys


@functools.cache
def compile_once() -> None:
    """What a session takes, seconds in a fresh clone: before a client's patience counts."""
    make_model(make_config()).prepare()
    importlib.import_module("quintet.tokenizers.loops")


class RunningServer:
    """The app for `model` at `address`, which ends in a slash, until `stop`."""

    def __init__(
        self,
        model: ServedModel,
        max_sessions: int = 1,
        keys: Keys | None = None,
        certificate: Path | None = None,
        port: int = 0,
    ) -> None:
        compile_once()
        self.socket = listen("127.0.0.1", port)
        scheme = "https" if certificate else "http"
        self.address = f"{scheme}://127.0.0.1:{self.socket.getsockname()[1]}/"
        app = create_app(model, max_sessions, keys=keys)
        self.server = uvicorn.Server(uvicorn_config(app, certificate))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()

    def stop(self) -> None:
        """Close every connection; may be called twice."""
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()
