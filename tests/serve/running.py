"""The server as a program runs it: a real socket, in a thread of its own."""

from __future__ import annotations

import threading

import uvicorn

from quintet.serve import create_app, listen, uvicorn_config
from quintet.serve.app import ServedModel
from quintet.serve.keys import Keys


class RunningServer:
    """The app for `model` at `address`, which ends in a slash, until `stop`."""

    def __init__(self, model: ServedModel, max_sessions: int = 1, keys: Keys | None = None) -> None:
        self.socket = listen("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        self.server = uvicorn.Server(uvicorn_config(create_app(model, max_sessions, keys=keys)))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()

    def stop(self) -> None:
        """Close every connection; may be called twice."""
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()
