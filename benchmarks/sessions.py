"""Live sessions that one device holds: the time of a step of the engine, by how many sit there.

People of the synthetic world talk, show and type at once (held-out scenes, one after another; or
noise, where no scenes can be made). A number is held if 99 % of its steps take less than the
clock's 250 ms. On a machine with a GPU the transformer runs there. The preset `small`, for which no
model is bundled, has random weights and nano's tokenizers; it is never silent, so that every step
is a full one.

    quintet bench sessions [--model small]
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import torch

from benchmarks import Row, row
from benchmarks.memory import peak_kilobytes
from quintet.config import STEP_SAMPLES, UserError, load_preset
from quintet.data.world.scenes import make_scene
from quintet.live import Quintet, load
from quintet.live.engine import Engine, Given
from quintet.model.omni import Omni

LIMIT = 250.0  # milliseconds
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
STEPS, WARM_UP, DISTINCT = 60, 24, 12  # steps; scenes that are told apart
ENOUGH = 8  # steps of which most are late: so many sessions are not held
THREADS = 2
UNTRAINED = ("small", "sketch")  # presets


def run(model: str = "nano") -> list[Row]:
    """Milliseconds a step beside the limit, for each number until one is not held."""
    torch.set_num_threads(THREADS)
    system = load(model) if model not in UNTRAINED else untrained(model)
    if torch.cuda.is_available():
        torch.set_num_threads(os.cpu_count() or THREADS)  # for the codec
        system.to("cuda")
    scripts = [script(90_000_000 + index) for index in range(DISTINCT)]
    rows: list[Row] = []
    held = 0
    for count in COUNTS:
        times = _times(system, scripts, count)
        p50, p99 = np.percentile(times, [50, 99])
        rows.append(row(f"{count} sessions, p50 of a step", "ms", float(p50), LIMIT))
        rows.append(row(f"{count} sessions, p99 of a step", "ms", float(p99), LIMIT))
        if p99 > LIMIT:
            break
        held = count
    rows.append(row("sessions held", "sessions", float(held)))
    return [*rows, row("peak memory of the process", "MiB", peak_kilobytes() / 1_024)]


def untrained(preset: str) -> Quintet:
    torch.manual_seed(0)
    nano, sizes = load("nano"), load_preset(preset)
    own = replace(sizes, text=nano.config.text, audio=nano.config.audio, image=nano.config.image)
    return Quintet(Omni(own), nano.tokenizers)


def script(seed: int) -> list[Given]:
    """What one person does, step by step, for as long as it is looked at."""
    steps: list[Given] = []
    while len(steps) < STEPS + WARM_UP:
        try:
            scene = make_scene(seed, "test")
        except UserError:
            rng = np.random.default_rng(seed)
            noise = 0.1 * rng.standard_normal((STEPS + WARM_UP, STEP_SAMPLES)).astype(np.float32)
            return [(one, None, "draw an apple." if i % 20 == 5 else None)
                    for i, one in enumerate(noise)]  # fmt: skip
        steps += scene.given()
        seed += DISTINCT
    return steps


def _times(system: Quintet, scripts: list[list[Given]], count: int) -> np.ndarray:
    """Milliseconds of each step, of `count` people who began at different times."""
    engine = Engine(system.model, system.tokenizers, count)
    seats = [engine.join(seed=index) for index in range(count)]
    times = []
    for step in range(STEPS + WARM_UP):
        given: dict[int, Given] = {}
        for seat in seats:
            script = scripts[seat % len(scripts)]
            given[seat] = script[(step + 7 * seat) % len(script)]
        started = time.perf_counter()
        engine.step(given)
        times.append(1_000 * (time.perf_counter() - started))
        late = sum(taken > LIMIT for taken in times[WARM_UP:])
        if late >= ENOUGH and 2 * late > len(times) - WARM_UP:
            break
    return np.array(times[WARM_UP:])
