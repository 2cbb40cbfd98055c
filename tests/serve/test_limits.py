"""What a client may not do, and what a slow model must not do to others: over a real socket."""

from __future__ import annotations

import base64
import io
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake import FakeModel
from PIL import Image
from running import RunningServer
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from quintet.config import STEP_SAMPLES
from quintet.serve import live_socket
from quintet.serve.protocol import IDLE, MAX_MESSAGE

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


def close_code(live: ClientConnection) -> int:
    """The code with which the server closes, after whatever it still says."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            live.recv(timeout=5)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_a_frame_larger_than_any_limit_is_never_read_whole(start: Server) -> None:
    server = start(FakeModel())
    with enter(server) as live:
        events(live, "hello", 1)
        with pytest.raises(ConnectionClosed) as closed:
            live.send("a" * (MAX_MESSAGE + 1))
            while True:  # our own check of the length would be an error event instead
                assert '"error"' not in str(live.recv(timeout=5))
        # Closing may overtake the frame; then the code is lost with what was still on its way.
        assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    with enter(server) as next_one:
        events(next_one, "step", 1)


@pytest.mark.parametrize(("size", "sentence"), [((10_000, 10_000), "pixels"), ((60_000, 2), None)])
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
        began = time.monotonic()
        steps = events(live, "step", 4)
        assert time.monotonic() - began == pytest.approx(2.0, abs=0.7)  # 4 x two steps of 250 ms
    assert [step["step"] for step in steps] == [1, 2, 3, 4]  # what the session itself counts
    assert steps[0]["skipped"] == 0
    assert [step["skipped"] for step in steps[1:]] == [1, 1, 1]
    text = urllib.request.urlopen(server.address + "metrics").read().decode()
    skipped = next(li for li in text.splitlines() if li.startswith("quintet_skipped_steps_total"))
    assert int(skipped.split()[1]) >= 3


def test_a_slow_step_blocks_nobody_elses_socket(start: Server) -> None:
    model = FakeModel()
    server = start(model)
    with enter(server) as slow:
        events(slow, "step", 1)
        model.delay = 1.5
        time.sleep(0.4)  # now a slow step is being computed
        began = time.monotonic()
        assert urllib.request.urlopen(server.address + "health").status == 200
        with enter(server) as other:
            events(other, "hello", 1)
            other.send("{")
            assert "not JSON" in events(other, "error", 1)[0]["message"]
        assert time.monotonic() - began < 0.7
        model.delay = 0


def test_two_conversations_both_keep_the_clock(start: Server) -> None:
    server = start(FakeModel(delay=0.05))
    with enter(server) as first, enter(server) as second:
        events(first, "step", 1)
        events(second, "step", 1)
        began = time.monotonic()
        steps = events(first, "step", 6) + events(second, "step", 6)
        assert time.monotonic() - began == pytest.approx(1.5, abs=0.3)
    assert not any(step["skipped"] for step in steps)


def stays_open(live: ClientConnection, sound: np.ndarray, seconds: float) -> bool:
    """Whether the server keeps a client that sends `sound` (int16 [6000]) at every step."""
    ends = time.monotonic() + seconds
    try:
        while time.monotonic() < ends:
            live.send(sound.tobytes())
            events(live, "step", 1)
    except ConnectionClosed:
        return False
    return True


def test_silence_for_long_frees_the_place(start: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_socket, "IDLE_SECONDS", 0.8)
    with enter(start(FakeModel())) as live:
        assert stays_open(live, np.full(STEP_SAMPLES, 9_000, "<i2"), seconds=1.6)
        assert not stays_open(live, np.zeros(STEP_SAMPLES, "<i2"), seconds=2.5)
        assert close_code(live) == IDLE
