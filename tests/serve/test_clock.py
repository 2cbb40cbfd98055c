"""The clock of a live connection, to the millisecond: in time that a test moves, not the machine's.

An event loop whose sleeps take no time, and a model that moves its clock as far as a step takes:
what is measured here does not depend on how busy the machine is.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake import FakeModel, FakeSession
from fastapi import WebSocketDisconnect

from quintet.config import STEP_SAMPLES
from quintet.serve import connection
from quintet.serve.conductor import Conductor
from quintet.serve.live_socket import LiveConnection
from quintet.serve.metrics import Metrics
from quintet.serve.protocol import IDLE
from quintet.serve.turn_mode import TurnMode


class _Loop(asyncio.SelectorEventLoop):
    """When nothing is left to do, it is at once the time of the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: _Loop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> list:
        assert timeout is not None, "everything waits for something that never comes"
        self.loop.now += timeout
        return super().select(0)


class _AtOnce(Executor):
    """A worker without a thread."""

    def submit(self, job: Callable[..., Any], *values: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(job(*values, **named))
        except Exception as error:
            done.set_exception(error)
        return done


class _Session(FakeSession):
    def step(self, *given: Any, **named: Any) -> Any:
        self.model.began.append(self.model.loop.now)
        self.model.loop.now += self.model.taken
        return super().step(*given, **named)


class _Model(FakeModel):
    """Notes when its steps begin; each takes `taken` seconds of the loop's clock."""

    def __init__(self, loop: _Loop, taken: float) -> None:
        super().__init__()
        self.loop, self.taken, self.began = loop, taken, list[float]()

    def session(self, **_: Any) -> FakeSession:
        return _Session(self)


class _Socket:
    """A client that sends `sound` at every step and leaves after `steps` of them."""

    def __init__(self, steps: int, sound: np.ndarray | None = None) -> None:
        self.left, self.sound = steps, sound
        self.skipped: list[int] = []
        self.code = 0

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0.25)
        sound = b"" if self.sound is None else self.sound.tobytes()
        return {"type": "websocket.receive", "bytes": sound}

    async def send_json(self, event: dict[str, Any]) -> None:
        if event["type"] == "step":
            self.skipped.append(event["skipped"])
            self.left -= 1
            if not self.left:
                raise WebSocketDisconnect(1000)

    async def send_bytes(self, frame: bytes) -> None:
        pass

    async def close(self, code: int, reason: str) -> None:
        self.code = code


def serve(loop: _Loop, model: _Model, *sockets: _Socket) -> Metrics:
    """Serve every socket until it leaves or is sent away."""
    metrics = Metrics(len(sockets))

    async def all_of_them() -> None:
        conductor = Conductor(model, len(sockets), _AtOnce())
        turns = TurnMode(model)
        connections = [LiveConnection(one, conductor, metrics, turns) for one in sockets]
        await asyncio.gather(*(connection.run() for connection in connections))

    try:
        loop.run_until_complete(all_of_them())
    finally:
        loop.close()
    return metrics


def test_steps_keep_the_clock() -> None:
    loop = _Loop()
    model, socket = _Model(loop, taken=0.125), _Socket(steps=400)
    metrics = serve(loop, model, socket)
    assert model.began == [0.25 * (step + 1) for step in range(400)]
    assert not any(socket.skipped) and metrics.skipped_steps == 0


def test_a_late_model_skips_steps_and_keeps_to_the_clock() -> None:
    loop = _Loop()
    model, socket = _Model(loop, taken=0.3125), _Socket(steps=4)
    metrics = serve(loop, model, socket)
    assert model.began == [0.25, 0.75, 1.25, 1.75]
    assert socket.skipped == [0, 1, 1, 1]
    assert metrics.skipped_steps == 4  # the last one's is counted, and nobody is left to be told


def test_two_conversations_both_keep_the_clock() -> None:
    loop = _Loop()
    model, sockets = _Model(loop, taken=0.0625), [_Socket(steps=40) for _ in range(2)]
    serve(loop, model, *sockets)
    # At the same moments, one after the other in a step of the engine.
    assert model.began == [0.25 * (step + 1) + turn for step in range(40) for turn in (0, 0.0625)]
    assert not any(any(socket.skipped) for socket in sockets)


@pytest.mark.parametrize(("loudness", "code", "steps"), [(0, IDLE, 80), (9_000, 0, 100)])
def test_nothing_but_silence_for_long_frees_the_place(
    loudness: int, code: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 20.0)
    loop = _Loop()
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=loop.time))
    model = _Model(loop, taken=0.0)
    socket = _Socket(steps=100, sound=np.full(STEP_SAMPLES, loudness, "<i2"))
    serve(loop, model, socket)
    assert socket.code == code
    assert len(model.began) == steps
