"""Whatever comes over a WebSocket: a well-formed answer, no crash, no harm to others, no lost seat.

A machine opens sessions of both APIs and of the page, sends events that are right and that are
spoilt, and frames of which every bit may be wrong, and leaves with and without a word. After each
of its moves the session answers or was closed by a code that is allowed, everything that the
server said is of the `openai` package's types, and somebody else's session goes on.
"""

from __future__ import annotations

import itertools
import json
import logging
import socket
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from fuzz import (
    live_events,
    page_events,
    profile,
    raw_frames,
    realtime_events,
    spoilt,
)
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run
from openai_types import LIVE, REALTIME, check_event
from running import RunningServer
from talker import TalkingModel
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from quintet.serve import connection

PLACES = 4
PATHS = {"realtime": "v1/realtime", "live": "v1/live/sessions", "page": "live"}
EVENTS = {"realtime": realtime_events, "live": live_events, "page": page_events}
ALLOWED = {1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1013}  # never 1011: that failed
PAGE = {"hello", "step", "image", "transcript", "reset", "error"}
names = itertools.count()


class Session:
    """A connection that reads everything and checks it."""

    def __init__(self, server: RunningServer, kind: str) -> None:
        self.kind, self.open = kind, True
        self.live = self._enter(server.address.replace("http", "ws") + PATHS[kind])

    def _enter(self, address: str) -> ClientConnection:
        """Who left has a place until the server notices it; then it comes back."""
        for _ in range(500):
            try:
                return connect(address, max_size=None).__enter__()
            except InvalidStatus as full:
                assert full.response.status_code == 503
                time.sleep(0.02)
        raise AssertionError("The places did not come back.")

    def send(self, event: dict[str, Any]) -> None:
        self.raw(json.dumps(event))

    def raw(self, text: str) -> None:
        try:
            self.live.send(text)
        except ConnectionClosed:
            self.ends()

    def bytes(self, data: bytes) -> None:
        try:
            self.live.socket.sendall(data)
        except OSError:
            self.ends()

    def answers(self) -> bool:
        """Whether it answers what is asked now, or has been closed as it may be."""
        probe = f"probe-{next(names)}"
        if self.kind == "page":
            self.send({"type": probe})
        else:
            self.send({"type": "probe", "event_id": probe})
        try:
            while self.open:
                frame = self.live.recv(timeout=10)
                if isinstance(frame, bytes):
                    assert self.kind == "page"
                    continue
                event = json.loads(frame)
                self.check(event)
                if event["type"] == "error" and self.is_for(event, probe):
                    return True
        except ConnectionClosed:
            self.ends()
        return True

    def is_for(self, event: dict[str, Any], probe: str) -> bool:
        if self.kind == "page":
            return "no known type" in event["message"]
        return probe in (event["error"].get("event_id"), event["error"].get("client_event_id"))

    def check(self, event: dict[str, Any]) -> None:
        if self.kind == "page":
            assert event["type"] in PAGE
        else:
            check_event(event, REALTIME if self.kind == "realtime" else LIVE)

    def ends(self) -> None:
        self.open = False
        code = self.live.close_code
        assert code is None or code in ALLOWED, f"closed with {code}: {self.live.close_reason}"

    def leave(self, politely: bool) -> None:
        self.open = False
        if politely:
            self.live.close()
        else:
            with suppress(OSError):  # the server was faster
                self.live.socket.shutdown(socket.SHUT_RDWR)


class Log(logging.Handler):
    """What was logged as an error: something crashed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


class Clients(RuleBasedStateMachine):
    """Some of them mean well."""

    server: RunningServer
    log: Log

    def __init__(self) -> None:
        super().__init__()
        self.bystander = Session(self.server, "realtime")
        self.sessions: list[Session] = []

    def some(self, data: st.DataObject) -> Session:
        return data.draw(st.sampled_from(self.sessions))  # type: ignore[no-any-return]

    @rule(kind=st.sampled_from(list(PATHS)))
    @precondition(lambda self: len(self.sessions) < PLACES - 1)
    def come(self, kind: str) -> None:
        self.sessions.append(Session(self.server, kind))
        if kind == "live":
            self.sessions[-1].send({"type": "session.start", "session": {"model": "x"}})

    @rule(data=st.data())
    @precondition(lambda self: self.sessions)
    def send_what_is_right(self, data: st.DataObject) -> None:
        session = self.some(data)
        for event in data.draw(st.lists(EVENTS[session.kind], min_size=1, max_size=4)):
            session.send(event)
        self.after(session)

    @rule(data=st.data())
    @precondition(lambda self: self.sessions)
    def send_what_is_spoilt(self, data: st.DataObject) -> None:
        session = self.some(data)
        for event in data.draw(st.lists(spoilt(EVENTS[session.kind]), min_size=1, max_size=4)):
            session.send(event)
        self.after(session)

    @rule(data=st.data(), text=st.one_of(st.text(max_size=50), st.sampled_from(["[" * 9_999, "1"])))
    @precondition(lambda self: self.sessions)
    def send_no_event(self, data: st.DataObject, text: str) -> None:
        session = self.some(data)
        session.raw(text.encode("utf-8", "replace").decode())
        self.after(session)

    @rule(data=st.data(), frames=st.lists(raw_frames(), min_size=1, max_size=3))
    @precondition(lambda self: self.sessions)
    def send_frames_of_any_bits(self, data: st.DataObject, frames: list[bytes]) -> None:
        """After which the client's own library may be at a loss, so it leaves."""
        session = self.some(data)
        session.bytes(b"".join(frames))
        self.sessions.remove(session)
        session.leave(politely=False)

    @rule(data=st.data(), politely=st.booleans())
    @precondition(lambda self: self.sessions)
    def go(self, data: st.DataObject, politely: bool) -> None:
        session = self.some(data)
        self.sessions.remove(session)
        session.leave(politely)

    def after(self, session: Session) -> None:
        assert session.answers()
        if not session.open:
            self.sessions.remove(session)

    @invariant()
    def nothing_failed(self) -> None:
        assert not self.log.records, self.log.records

    @invariant()
    def others_are_unharmed(self) -> None:
        assert self.bystander.answers() and self.bystander.open

    def teardown(self) -> None:
        for session in [*self.sessions, self.bystander]:
            session.leave(politely=True)
        for _ in range(500):
            if not self.server.server.server_state.connections:
                break
            time.sleep(0.02)
        assert not self.server.server.server_state.connections
        assert not self.server.model.seated()  # type: ignore[attr-defined]


def test_whatever_clients_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STEP_SECONDS", 0.02)
    monkeypatch.setattr(connection, "BAD_SECONDS", 0.0)  # here nearly all messages are bad
    model, log = CountingModel(), Log()
    server = RunningServer(model, max_sessions=PLACES)
    server.model = model  # type: ignore[attr-defined]
    logging.getLogger().addHandler(log)
    try:
        Clients.server, Clients.log = server, log
        run(Clients, settings=profile(25, stateful_step_count=15))
    finally:
        logging.getLogger().removeHandler(log)
        server.stop()


class CountingModel(TalkingModel):
    """Knows who sits at its engine, and has another's voice."""

    def __init__(self) -> None:
        super().__init__()
        self.voices = {"linda": np.zeros((5, 3), np.int32)}

    def engine(self, seats: int) -> Any:
        self.made = super().engine(seats)
        return self.made

    def seated(self) -> int:
        """Sessions that have a seat, once those that leave have left."""
        for _ in range(500):
            if not self.made.sessions:
                return 0
            time.sleep(0.02)
        return len(self.made.sessions)
