"""What a client may not do, and what a slow model must not do to others: over a real socket."""

from __future__ import annotations

import base64
import io
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake import FakeModel, FakeSession
from PIL import Image
from running import RunningServer
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from quintet.config import STEP_SAMPLES
from quintet.live.session import StepOutput
from quintet.serve import connection
from quintet.serve.protocol import IDLE, MAX_FRAME

Server = Callable[..., RunningServer]


@pytest.fixture
def start() -> Iterator[Server]:
    """Starts servers, which end with the test."""
    running: list[RunningServer] = []

    def start(model: FakeModel, max_sessions: int = 2) -> RunningServer:
        running.append(RunningServer(model, max_sessions))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def enter(server: RunningServer, **options: Any) -> ClientConnection:
    address = server.address.replace("http", "ws") + "live"
    return connect(address, max_size=None, **options)


def events(live: ClientConnection, kind: str, count: int) -> list[dict[str, Any]]:
    """The next `count` events of that type."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        frame = live.recv(timeout=5)
        if isinstance(frame, str) and json.loads(frame)["type"] == kind:
            found.append(json.loads(frame))
    return found


def test_a_frame_larger_than_any_limit_is_never_read_whole(start: Server) -> None:
    server = start(FakeModel())
    with enter(server) as live:
        events(live, "hello", 1)
        with pytest.raises(ConnectionClosed) as closed:
            live.send("a" * (MAX_FRAME + 1))
            while True:  # our own check of the length would be an error event instead
                assert '"error"' not in str(live.recv(timeout=5))
        # Closing may overtake the frame; then the code is lost with what was still on its way.
        assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    with enter(server) as next_one:
        events(next_one, "step", 1)


@pytest.mark.parametrize(
    ("size", "sentence"),
    [((10_000, 10_000), "pixels"), ((2_100, 2_000), "4 million pixels"), ((60_000, 2), None)],
)
def test_a_picture_is_judged_by_its_header(
    start: Server, size: tuple[int, int], sentence: str | None
) -> None:
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG")
    assert len(file.getvalue()) < 100_000  # small on the wire, 300 MB once decoded to RGB
    data = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    model = FakeModel()
    with enter(start(model)) as live:
        live.send(json.dumps({"type": "image", "data": data}))
        if sentence:
            assert sentence in events(live, "error", 1)[0]["message"]
        else:
            events(live, "step", 3)
            seen = next(image for _, image, _ in model.heard if image is not None)
            assert seen.shape == (1, 1_024, 3)
        events(live, "step", 1)


def test_a_foreign_origin_is_refused_at_the_handshake(start: Server) -> None:
    server = start(FakeModel())
    with pytest.raises(InvalidStatus) as refused:
        enter(server, origin="https://evil.example")
    assert refused.value.response.status_code == 403
    with enter(server, origin=server.address.rstrip("/")) as live:
        events(live, "step", 1)


def test_a_late_model_skips_steps_and_says_so(start: Server) -> None:
    server = start(FakeModel(delay=0.3))
    with enter(server) as live:
        steps = events(live, "step", 4)
    assert [step["step"] for step in steps] == [1, 2, 3, 4]  # what the session itself counts
    assert all(step["skipped"] >= 1 for step in steps[1:])
    text = urllib.request.urlopen(server.address + "metrics").read().decode()
    skipped = next(li for li in text.splitlines() if li.startswith("quintet_skipped_steps_total"))
    assert int(skipped.split()[1]) >= sum(step["skipped"] for step in steps)


class HeldSession(FakeSession):
    """A step does not end before the model lets it."""

    model: HeldModel

    def step(self, *given: Any, **named: Any) -> StepOutput:
        self.model.inside.set()
        assert self.model.go.wait(30)
        self.model.inside.clear()
        return super().step(*given, **named)


class HeldModel(FakeModel):
    """Its steps end only while `go` is set; `inside` is set while one is being computed."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.inside = threading.Event(), threading.Event()

    def session(self, **_: Any) -> FakeSession:
        return HeldSession(self)


def test_a_slow_step_blocks_nobody_elses_socket(start: Server) -> None:
    model = HeldModel()
    server = start(model)
    try:
        with enter(server) as slow:
            assert model.inside.wait(30)  # a step is being computed, and stays so
            assert urllib.request.urlopen(server.address + "health", timeout=10).status == 200
            with enter(server) as other:
                events(other, "hello", 1)
                other.send("{")
                assert "not JSON" in events(other, "error", 1)[0]["message"]
            assert model.inside.is_set() and not model.heard
            model.go.set()
            assert events(slow, "step", 1)[0]["step"] == 1
    finally:
        model.go.set()


def test_two_conversations_get_all_their_steps(start: Server) -> None:
    server = start(FakeModel(delay=0.05))
    with enter(server) as first, enter(server) as second:
        for live in (first, second):
            assert [step["step"] for step in events(live, "step", 6)] == [1, 2, 3, 4, 5, 6]


def test_silence_for_long_frees_the_place(start: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.8)
    silence = np.zeros(STEP_SAMPLES, "<i2").tobytes()
    with enter(start(FakeModel())) as live:
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(40):
                live.send(silence)
                events(live, "step", 1)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == IDLE
