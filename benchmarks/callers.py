"""People who call a server, for the benchmark of serving: paced, reactive, and cut off at random.

Each speaks requests of the synthetic world into a microphone that runs in real time: what is
captured in 50 ms is sent at their end, on an absolute clock, and silence is sent, too. A caller
waits for the answer, sometimes speaks into it, and rests before asking for the next thing.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, STEPS_PER_SECOND

STEP_SECONDS = 1 / STEPS_PER_SECOND
PIECES = 5  # that a step's sound is sent in
AUDIBLE = 0.01  # of full scale: a sample as loud as this is heard
NOISE = 0.001  # RMS of a caller's room
PATIENCE = 8.0  # seconds after which a request counts as not answered
INTERRUPTS = 0.3  # share of the answers that are spoken into
SPOKEN_STEPS = 2  # of an answer that are heard before somebody speaks into it
REST = (4, 12)  # steps between an answer and the next request
RETRY = 0.5  # seconds
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: to close is to reset, without a word


@dataclass
class Notes:
    """What all callers met; times are seconds of the system's monotonic clock, all of a machine."""

    steps: list[tuple[float, float, float, int]] = field(default_factory=list)
    """When, ms to compute it, ms from the clock's tick to its arrival here, steps skipped."""
    first_audio: list[float] = field(default_factory=list)  # s from the end of a request
    early: int = 0  # requests that were answered before their end
    unanswered: int = 0
    stops: list[float] = field(default_factory=list)  # s from speaking into it to the last sound
    sent_late: list[float] = field(default_factory=list)  # s by which a caller was late itself
    refused: int = 0  # calls that found no place
    cut: int = 0  # calls that ended without a word


class Caller:
    """One person, who calls again whenever a call has ended.

    Args:
        address: of the page's socket, "ws://.../live".
        requests: what there is to say, float32 [samples] each.
    """

    def __init__(
        self, address: str, requests: Sequence[np.ndarray], notes: Notes, seed: int
    ) -> None:
        self.address, self.requests, self.notes = address, requests, notes
        self.random, self.noise = random.Random(seed), np.random.default_rng(seed)
        self.live: ClientConnection | None = None
        self._begin()

    def _begin(self) -> None:
        """Nothing is said, nothing is heard."""
        self.saying = np.zeros(0, np.float32)  # what is left of the request
        self.asked: float | None = None  # when the request that waits for its answer ends
        self.barged: float | None = None  # when the caller began to speak into an answer
        self.spoken = 0  # steps of the answer that is being heard
        self.quiet = 0  # steps since
        self.rest = self.random.randint(*REST)
        self.interrupts = False
        self.plays_until = 0.0  # when all sound that came has been played
        self.last_audible = 0.0
        self.tick: float | None = None  # when the last step's time began

    def cut(self) -> None:
        """End the call as a killed process does: the socket is reset."""
        if self.live is not None and not self.live.transport.is_closing():
            sock = self.live.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.live.transport.abort()
            self.notes.cut += 1

    async def run(self) -> None:
        """Call for ever."""
        await asyncio.sleep(self.random.uniform(0, 1))
        while True:
            try:
                async with connect(self.address, compression=None, max_size=None) as self.live:
                    self._begin()
                    await self._call(self.live)
            except (ConnectionClosed, OSError, InvalidHandshake):
                pass
            self.live = None
            await asyncio.sleep(RETRY)

    async def _call(self, live: ClientConnection) -> None:
        speaking = asyncio.create_task(self._speak(live))
        try:
            async for frame in live:
                now = time.monotonic()
                if isinstance(frame, bytes):
                    self._heard(np.frombuffer(frame, "<i2") / 32_768, now)
                    continue
                event = json.loads(frame)
                if event["type"] == "step":
                    self._stepped(event, now)
                elif event["type"] == "error":
                    self.notes.refused += 1
        finally:
            speaking.cancel()
            await asyncio.wait([speaking])

    # ---- the microphone

    async def _speak(self, live: ClientConnection) -> None:
        captured = time.monotonic()  # until when
        while True:
            step = (np.clip(self._capture(captured), -1, 1) * 32_767).astype("<i2")
            for piece in np.split(step, PIECES):
                captured += STEP_SECONDS / PIECES
                await asyncio.sleep(captured - time.monotonic())
                self.notes.sent_late.append(time.monotonic() - captured)
                await live.send(piece.tobytes())

    def _capture(self, start: float) -> np.ndarray:
        """float32 [6000]: the 250 ms from `start` on."""
        if not len(self.saying) and self._wants_to_speak(start):
            self.saying = self.random.choice(self.requests)
            self.asked = start + len(self.saying) / SAMPLE_RATE
            self.barged, self.interrupts = start if self.spoken else None, False
        piece, self.saying = self.saying[:STEP_SAMPLES], self.saying[STEP_SAMPLES:]
        room = NOISE * self.noise.standard_normal(STEP_SAMPLES).astype(np.float32)
        return room + np.pad(piece, (0, STEP_SAMPLES - len(piece)))

    def _wants_to_speak(self, now: float) -> bool:
        if self.spoken:
            return self.interrupts and self.spoken >= SPOKEN_STEPS
        if self.asked is not None and now > self.asked + PATIENCE:
            self.notes.unanswered += 1
            self.asked = None
        return self.asked is None and self.quiet >= self.rest

    # ---- the loudspeaker

    def _stepped(self, event: dict[str, object], now: float) -> None:
        skipped = int(str(event["skipped"]))
        if self.tick is None:
            begun = now - float(str(event["milliseconds"])) / 1_000  # after its tick
            self.tick = begun // STEP_SECONDS * STEP_SECONDS
        else:
            self.tick += (1 + skipped) * STEP_SECONDS
        late = 1_000 * (now - self.tick)
        self.notes.steps.append((now, float(str(event["milliseconds"])), late, skipped))
        if event["speaking"]:
            self.spoken, self.quiet = self.spoken + 1, 0
            return
        if self.spoken:  # it has ended
            self.rest, self.interrupts = self.random.randint(*REST), False
        self.spoken, self.quiet = 0, self.quiet + 1
        if self.barged is not None:
            if self.last_audible > self.barged:  # or it had ended by itself
                self.notes.stops.append(self.last_audible - self.barged)
            self.barged = None

    def _heard(self, sound: np.ndarray, now: float) -> None:
        """Sound plays as soon as it is there, one piece after another."""
        begins = max(now, self.plays_until)
        self.plays_until = begins + len(sound) / SAMPLE_RATE
        audible = np.flatnonzero(np.abs(sound) > AUDIBLE)
        if not len(audible):
            return
        self.last_audible = begins + (audible[-1] + 1) / SAMPLE_RATE
        if self.asked is None or self.barged is not None:
            return
        waited = begins + audible[0] / SAMPLE_RATE - self.asked
        if waited < 0:
            self.notes.early += 1
        else:
            self.notes.first_audio.append(waited)
        self.asked, self.interrupts = None, self.random.random() < INTERRUPTS
