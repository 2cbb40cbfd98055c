"""Twice as many as there are places, some of them hostile: who is in stays on time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from fake import FakeModel
from running import RunningServer
from test_clock import _Loop, _Model, _Socket, serve
from test_slow_clients import Bystander, in_time, sessions
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from quintet.serve import connection

PLACES = 4


class _NeverReads(_Socket):
    """Sends refused messages as fast as it may, and what it is sent never leaves."""

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(1 / 128)
        return {"type": "websocket.receive", "text": '{"type": "reset"}'}

    async def send_json(self, event: dict[str, Any]) -> None:
        await asyncio.sleep(1_000_000)

    send_bytes = send_json  # type: ignore[assignment]


class _Refused(_Socket):
    """Says nothing but what is refused."""

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(1 / 128)
        return {"type": "websocket.receive", "text": "{"}


def test_hostile_neighbours_cost_nobody_a_step() -> None:
    loop = _Loop()
    model, friends = _Model(loop, taken=0.05), [_Socket(steps=80) for _ in range(2)]
    hostile = [_NeverReads(steps=80), _Refused(steps=80)]
    metrics = serve(loop, model, *friends, *hostile)
    assert not any(any(friend.skipped) for friend in friends) and metrics.skipped_steps == 0
    assert [friend.left for friend in friends] == [0, 0]
    assert {0.25 * (step + 1) for step in range(80)} <= {round(at, 6) for at in model.began}
    assert metrics.closed[1008] == 1 and metrics.closed[1013] == 1


class _BeginsAnew(_Socket):
    """Wants another conversation at every step."""

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0.25)
        return {"type": "websocket.receive", "text": '{"type": "reset"}'}


def test_who_always_begins_anew_costs_others_nothing() -> None:
    loop = _Loop()
    model, friend, other = _Model(loop, taken=0.1), _Socket(steps=40), _BeginsAnew(steps=40)
    serve(loop, model, friend, other)
    assert not any(friend.skipped) and not any(other.skipped)
    assert model.began == pytest.approx(
        [0.25 * (step + 1) + turn for step in range(40) for turn in (0, 0.1)]
    )


def test_twice_as_many_as_there_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STEP_SECONDS", 0.02)
    server = RunningServer(FakeModel(seconds=0.001), max_sessions=PLACES)
    statuses: list[int] = []
    go, leave = threading.Event(), threading.Event()

    def come(path: str) -> None:
        go.wait(10)
        try:
            with connect(server.address.replace("http", "ws") + path) as live:
                live.recv(timeout=10)
                statuses.append(101)
                leave.wait(30)
        except InvalidStatus as refused:
            statuses.append(refused.response.status_code)

    try:
        with Bystander(server) as other:
            many = [threading.Thread(target=come, args=["v1/realtime"])
                    for _ in range(2 * PLACES)]  # fmt: skip
            for one in many:
                one.start()
            go.set()
            assert in_time(lambda: len(statuses) == 2 * PLACES)
            assert sorted(statuses) == [101] * (PLACES - 1) + [503] * (PLACES + 1)
            assert sessions(server) == PLACES
            assert other.is_well()
            leave.set()
            assert in_time(lambda: sessions(server) == 1) and other.is_well()
    finally:
        leave.set()
        server.stop()
        for one in many:
            one.join(10)
    assert not server.server.server_state.connections
