"""The server under people who talk: a real process, real sockets, speech at the pace of speech.

As many callers as there are places (`benchmarks.callers`) ask for things aloud, speak into answers
and are cut off at random, several a minute; another call takes the place. The callers share one
process; how late they are themselves is among the figures. What is measured:

- a step: the time to compute it, as the engine tells it to each caller;
- its lateness: from the tick of the clock that all sessions share to its arrival at the caller;
- first audio: from the last sample of a spoken request to the first audible sample of the answer,
  played as it comes;
- barge-in: from the first sample spoken into an answer to the last audible sample of that answer;
- lateness and the server's memory in the first and in the last minute;
- the places that are taken when all callers have been cut off, and the calls that then begin.

    quintet bench serve --sessions 8 --minutes 10
    quintet bench serve --fast            # an hour in the engine itself, faster than real time
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks import Row, row
from benchmarks.callers import Caller, Notes
from benchmarks.long_session import run as run_fast
from quintet.config import UserError
from quintet.data.world.scenes import make_scene

SESSIONS, MINUTES = 8, 10.0
FAST_MINUTES = 60.0
KINDS = ("say", "repeat", "count", "greet", "draw")  # of requests that are answered aloud
REQUESTS, FIRST = 40, 90_000_000  # that are told apart; the seed of the first scene
CUT_EVERY = 15.0  # seconds
LOOK_EVERY = 1.0  # seconds, at the server's memory
START_SECONDS, FREE_SECONDS = 120.0, 10.0  # that the server may take to start, and to free places
LIMIT = 250.0  # milliseconds
FIRST_AUDIO_LIMIT, STOP_LIMIT = 500.0, 400.0  # milliseconds
CHECKOUT = Path(__file__).parent.parent


def run(
    model: str = "nano",
    sessions: int | None = None,
    minutes: float | None = None,
    fast: bool = False,
) -> list[Row]:
    """Figures beside their limits.

    Raises:
        UserError: espeak-ng, which speaks the requests, is not installed; the server does not
            start.
    """
    if fast:
        return run_fast(model, sessions or 1, minutes or FAST_MINUTES)
    sessions, seconds = sessions or SESSIONS, 60 * (minutes or MINUTES)
    requests = spoken_requests(REQUESTS)
    with server(model, sessions) as address:
        return asyncio.run(_measure(address, requests, sessions, seconds))


def spoken_requests(count: int) -> list[np.ndarray]:
    """What people of held-out scenes ask aloud, cut after the last word: float32 [samples] each."""
    found: list[np.ndarray] = []
    for seed in range(FIRST, FIRST + 20 * count):
        scene = make_scene(seed, "test", KINDS)
        asked = {reply.request for reply in scene.replies if not reply.typed}
        for line in scene.lines:
            if line.text in asked and line.words:
                found.append(scene.microphone[line.start_sample : line.words[-1].end])
        if len(found) >= count:
            return found[:count]
    raise AssertionError("scenes without spoken requests")


@contextlib.contextmanager
def server(model: str, sessions: int) -> Iterator[str]:
    """A server's process, as `quintet serve` starts it; its address."""
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "quintet", "serve", model, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--sessions", str(sessions)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+?:\d+", process.stdout.readline())
        if not found:
            raise UserError("The server did not start; see what it says above.")
        _wait_until_ready(found[0])
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(address: str) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(urllib.error.URLError):  # 503 is one
            urllib.request.urlopen(f"{address}/ready", timeout=5)
            return
        time.sleep(0.1)
    raise UserError(f"The server was not ready within {START_SECONDS:.0f} s; try a smaller model.")


async def read_metric(address: str, name: str) -> float:
    """One number of the server's /metrics."""

    def read() -> str:
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(read)
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


async def _measure(
    address: str, requests: Sequence[np.ndarray], sessions: int, seconds: float
) -> list[Row]:
    live = address.replace("http", "ws") + "/live"
    notes, memory = Notes(), list[tuple[float, float]]()
    callers = [Caller(live, requests, notes, seed) for seed in range(sessions)]
    started = time.monotonic()
    async with _running(callers, address, memory):
        await asyncio.sleep(seconds)
    taken = await _places_taken(address)
    again = await _begin_again(live, sessions)
    return [
        *_step_rows(notes), *_talk_rows(notes), *_minute_rows(notes, memory, started, seconds),
        row("calls cut off without a word", "calls", float(notes.cut)),
        row("calls that found no place", "calls", float(notes.refused)),
        row("places still taken after all were cut off", "places", taken),
        row("calls that begin afterwards", "calls", again, float(sessions)),
    ]  # fmt: skip


@contextlib.asynccontextmanager
async def _running(
    callers: Sequence[Caller], address: str, memory: list[tuple[float, float]]
) -> AsyncIterator[None]:
    """Callers call, one of them is cut off now and then, and the server's memory is looked at."""
    chance = random.Random(0)

    async def cut() -> None:
        while True:
            await asyncio.sleep(CUT_EVERY)
            chance.choice(callers).cut()

    async def look() -> None:
        while True:
            resident = await read_metric(address, "process_resident_memory_bytes")
            memory.append((time.monotonic(), resident / 2**20))
            await asyncio.sleep(LOOK_EVERY)

    jobs = [cut(), look(), *(caller.run() for caller in callers)]
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        yield
        failed = [task.exception() for task in tasks if task.done()]
        if failed:
            raise failed[0] or AssertionError("a caller has ended")
        for caller in callers:
            caller.cut()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _places_taken(address: str) -> float:
    """How many sessions are left; waits until there are none, but not for long."""
    until, taken = time.monotonic() + FREE_SECONDS, 1.0
    while taken and time.monotonic() < until:
        await asyncio.sleep(0.2)
        taken = await read_metric(address, "quintet_sessions")
    return taken


async def _begin_again(live: str, sessions: int) -> float:
    """How many calls at once are answered with a step; a machine that is too slow refuses some."""
    async with contextlib.AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(connect(live)) for _ in range(sessions)]
        begun = 0
        for call in calls:
            with contextlib.suppress(TimeoutError, ConnectionClosed):
                async with asyncio.timeout(FREE_SECONDS):
                    while '"step"' not in str(await call.recv()):
                        pass
                    begun += 1
    return float(begun)


def _percentiles(
    what: str, values: Sequence[float], limit: float, percents: Sequence[int]
) -> list[Row]:
    return [row(f"{what}, p{percent}", "ms", float(np.percentile(values, percent)), limit)
            for percent in percents if len(values)]  # fmt: skip


def _step_rows(notes: Notes) -> list[Row]:
    _, milliseconds, late, skipped = zip(*notes.steps, strict=True)
    own = [1_000 * seconds for seconds in notes.sent_late]
    left_out = 100 * sum(skipped) / (len(skipped) + sum(skipped))
    return [
        *_percentiles("a step", milliseconds, LIMIT, (50, 95, 99)),
        row("slowest step", "ms", max(milliseconds), LIMIT),
        *_percentiles("from the tick to the caller", late, LIMIT, (50, 95, 99)),
        row("steps skipped", "%", left_out),
        *_percentiles("callers late themselves", own, LIMIT, (99,)),
    ]


def _talk_rows(notes: Notes) -> list[Row]:
    first = [1_000 * one for one in notes.first_audio]
    stops = [1_000 * one for one in notes.stops]
    rows = [
        row("requests answered aloud", "requests", float(len(first) + notes.early)),
        row("of these, before their end", "requests", float(notes.early)),
        row("requests not answered aloud", "requests", float(notes.unanswered)),
    ]
    if first:
        rows.append(row("end of request to first audible sample, mean", "ms",
                        float(np.mean(first)), FIRST_AUDIO_LIMIT))  # fmt: skip
    what = "end of request to first audible sample"
    rows += _percentiles(what, first, FIRST_AUDIO_LIMIT, (50, 95))
    rows.append(row("answers spoken into that went on", "answers", float(len(stops))))
    return rows + _percentiles("barge-in to last audible sample", stops, STOP_LIMIT, (50, 95))


def _minute_rows(
    notes: Notes, memory: Sequence[tuple[float, float]], started: float, seconds: float
) -> list[Row]:
    """The first and the last minute; the halves, where there are not two minutes."""
    window = min(60.0, seconds / 2)
    spans = {"first": (started, started + window),
             "last": (started + seconds - window, started + seconds)}  # fmt: skip
    rows: list[Row] = []
    for name, (begin, end) in spans.items():
        late = [one[2] for one in notes.steps if begin <= one[0] < end]
        held = [mebibytes for when, mebibytes in memory if begin <= when < end]
        what = f"{name} {window:.0f} s"
        rows += _percentiles(f"{what}: from the tick to the caller", late, LIMIT, (50, 99))
        if held:
            rows.append(row(f"{what}: memory of the server", "MiB", float(np.mean(held))))
    return rows
