"""SIGTERM: nobody new comes in, who is there may finish, and then the process ends by itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import quintet
from quintet.live.recording import Recording


class _Process:
    """`quintet serve` with options, ready."""

    def __init__(self, *options: object) -> None:
        command = [sys.executable, "-m", "quintet", "serve", *map(str, options), "--port", "0"]
        package = Path(quintet.__file__).parent.parent
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=package, env=os.environ
        )
        assert self.process.stdout
        found = re.search(r"http://\S+:\d+", self.process.stdout.readline())
        assert found
        self.address = found[0]
        while self.get("ready")[0] != 200:
            time.sleep(0.1)

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"{self.address}/{path}", timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def enter(self) -> ClientConnection:
        return connect(self.address.replace("http", "ws") + "/live")


@pytest.fixture
def start(model_folder: Path) -> Iterator[Callable[..., _Process]]:
    started: list[_Process] = []

    def start(*options: object) -> _Process:
        started.append(_Process(model_folder, *options))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def _step(live: ClientConnection) -> int:
    while True:
        frame = live.recv(timeout=60)
        if isinstance(frame, str) and json.loads(frame)["type"] == "step":
            return int(json.loads(frame)["step"])


def test_who_is_there_finishes_and_nobody_comes(start: Callable[..., _Process]) -> None:
    server = start("--drain", 600)
    with server.enter() as live:
        first = _step(live)
        server.process.send_signal(signal.SIGTERM)
        while server.get("ready")[0] == 200:
            time.sleep(0.05)
        status, body = server.get("ready")
        assert status == 503 and body["draining"] and body["warm"] and body["sessions"] == 1
        assert server.get("health")[0] == 200
        with server.enter() as late, pytest.raises(ConnectionClosed) as closed:
            assert "about to stop" in str(late.recv(timeout=60))
            late.recv(timeout=60)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
        assert [_step(live) for _ in range(4)][-1] >= first + 4  # it goes on
    assert server.process.wait(60) == 0


def test_time_is_up_and_what_was_said_is_kept(
    start: Callable[..., _Process], tmp_path: Path
) -> None:
    server = start("--drain", 0.5, "--record", tmp_path)
    with server.enter() as live:
        _step(live)
        _step(live)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                _step(live)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    assert server.process.wait(60) == 0
    (file,) = tmp_path.iterdir()
    assert len(Recording.load(file).sound) >= 2
