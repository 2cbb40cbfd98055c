"""Two replicas: one is killed, its sessions connect again, and the others never notice."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import quintet
from quintet.serve import listen

ray = pytest.importorskip("ray", reason="the extra cluster is not installed")

SECONDS = 120  # that something may take on a busy machine


class _Person:
    """Somebody with a session of their own name, who connects again when it is closed."""

    def __init__(self, port: int, name: str) -> None:
        self.port, self.header = port, {"X-Session-Id": name}
        self.live = self._enter()
        self.steps: list[int] = []
        self.replica = self._replica()

    def _enter(self) -> ClientConnection:
        until = time.monotonic() + SECONDS
        while True:
            try:
                live = connect(f"ws://127.0.0.1:{self.port}/live", additional_headers=self.header,
                               open_timeout=SECONDS, close_timeout=1)  # fmt: skip
                assert json.loads(live.recv(timeout=SECONDS))["type"] == "hello"
                return live
            except (ConnectionClosed, InvalidStatus, OSError):
                assert time.monotonic() < until
                time.sleep(0.2)

    def metric(self, name: str) -> str:
        """Of the replica that answers to this name."""
        address = f"http://127.0.0.1:{self.port}/metrics"
        request = urllib.request.Request(address, headers=self.header)
        text = urllib.request.urlopen(request, timeout=SECONDS).read().decode()
        found = re.search(rf"^{name} (\S+)", text, re.MULTILINE)
        assert found
        return found[1]

    def _replica(self) -> str:
        """Which one answers to this name, told by when it began."""
        return self.metric("process_start_time_seconds")

    def hear(self, count: int) -> bool:
        """Whether so many steps came; connects again if not."""
        try:
            while count:
                frame = self.live.recv(timeout=SECONDS)
                if isinstance(frame, str) and (event := json.loads(frame))["type"] == "step":
                    self.steps.append(event["step"])
                    count -= 1
        except ConnectionClosed:
            self.live, self.steps = self._enter(), []
            return False
        return True


@pytest.fixture
def port(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    from quintet.serve import replicas

    with listen("127.0.0.1", 0) as free:
        port = int(free.getsockname()[1])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        replicas.start_replicas(str(model_folder), port=port, max_sessions=6, drain_seconds=1)
        yield port
    finally:
        replicas.serve.shutdown()
        ray.shutdown()


def test_one_of_two_is_killed(port: int) -> None:
    people = [_Person(port, f"person {index}") for index in range(6)]
    assert all(person.hear(2) for person in people)
    assert len({person.replica for person in people}) == 2
    assert all(person._replica() == person.replica for person in people)  # sticky

    names = ray.util.list_named_actors(all_namespaces=True)
    servers = [one for one in names if "SERVE_REPLICA" in one["name"]]
    assert len(servers) == 2
    stayed: dict[int, bool] = {}
    hearing = [threading.Thread(target=lambda i=i: stayed.update({i: people[i].hear(12)}))
               for i in range(len(people))]  # fmt: skip
    for thread in hearing:
        thread.start()
    ray.kill(ray.get_actor(servers[0]["name"], namespace=servers[0]["namespace"]))
    for thread in hearing:
        thread.join(SECONDS)
    closed = {people[i].replica for i, one in stayed.items() if not one}
    assert len(closed) == 1 and len(stayed) == len(people)
    for i, person in enumerate(people):
        assert stayed[i] == (person.replica not in closed)
        if stayed[i]:
            assert person.steps == list(range(person.steps[0], person.steps[0] + 14))
        assert person.hear(2)  # wherever it is now
        person.live.close()
    until = time.monotonic() + SECONDS
    while any(person.metric("quintet_sessions") != "0" for person in people):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_sigterm_lets_sessions_go_on(model_folder: Path) -> None:
    with listen("127.0.0.1", 0) as free:
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "quintet", "serve", str(model_folder), "--port", str(port),
               "--replicas", "2", "--drain", "600"]  # fmt: skip
    package = Path(quintet.__file__).parent.parent
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=package
    )
    try:
        assert process.stdout and "listens" in process.stdout.readline()
        person = _Person(port, "somebody")
        assert person.hear(2)
        process.send_signal(signal.SIGTERM)
        assert person.hear(12)
        person.live.close()
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()
