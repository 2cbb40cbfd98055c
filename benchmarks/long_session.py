"""Sessions of an hour, stepped as fast as they go: does a step take longer, or memory grow?

People of the synthetic world talk, show and type (as in `benchmarks.sessions`), in the engine
itself, without sockets. `quintet bench serve --fast` runs it.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks import Row, row
from benchmarks.memory import resident_kilobytes
from benchmarks.sessions import DISTINCT, script
from quintet.config import STEPS_PER_SECOND
from quintet.live import load
from quintet.live.engine import Engine

MARKS = (1, 10, 60)  # minutes of the session
MINUTE = 60 * STEPS_PER_SECOND  # steps
LIMIT = 250.0  # milliseconds
THREADS = 1  # as the server


def run(model: str, sessions: int, minutes: float) -> list[Row]:
    """Step times in the minute before each mark, and memory at it, beside those of the first."""
    torch.set_num_threads(THREADS)
    system = load(model)
    scripts = [script(90_000_000 + index) for index in range(DISTINCT)]
    engine = Engine(system.model, system.tokenizers, sessions)
    seats = [engine.join(seed=index) for index in range(sessions)]
    steps = max(1, round(minutes * MINUTE))
    marks = [round(mark * MINUTE) for mark in MARKS if mark * MINUTE < steps] + [steps]
    times: list[float] = []
    rows: list[Row] = []
    first: float | None = None
    began = time.perf_counter()
    for step in range(steps):
        given = {}
        for seat in seats:  # from scene to scene, each person in another order
            place = step + 7 * seat
            said = scripts[(seat + place // len(scripts[0])) % len(scripts)]
            given[seat] = said[place % len(said)]
        started = time.perf_counter()
        engine.step(given)
        times.append(1_000 * (time.perf_counter() - started))
        if step + 1 in marks:
            held = resident_kilobytes() / 1_024
            first = first or held
            rows += _mark(f"{(step + 1) / MINUTE:g} min", times[-MINUTE:], held, first)
    speed = steps / STEPS_PER_SECOND / (time.perf_counter() - began)
    return [*rows, row("faster than real time", "times", speed)]


def _mark(name: str, milliseconds: list[float], held: float, first: float) -> list[Row]:
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return [
        row(f"{name}: p50 of a step", "ms", float(p50), LIMIT),
        row(f"{name}: p99 of a step", "ms", float(p99), LIMIT),
        row(f"{name}: resident memory", "MiB", held, first),
    ]
