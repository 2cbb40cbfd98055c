"""One step of a live session: how long it takes, against the limit of the clock.

Two runs. *Scenes*: what people do, in held-out scenes one after another in a single session.
*Full*: the most that a step can hold, every step: a picture and a message come in, the budget of
the text+image stream is used up, all audio frames are spoken, and the window is full.

    quintet bench live
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from benchmarks import Row, row
from benchmarks.memory import peak_kilobytes
from quintet.config import STEP_SAMPLES, UserError
from quintet.data.world.scenes import make_scene
from quintet.live import Quintet, Sampling, Session, load
from quintet.live.sampling import NEVER

LIMIT = 150.0  # milliseconds at the 99th percentile: 250 less what the way to the ear takes
STEPS = 400
WARM_UP = 20
THREADS = 1  # as the commands set it: one row at a time is too little to share


def run(model: str = "nano") -> list[Row]:
    """Step times in milliseconds beside the limit, and memory in MiB."""
    torch.set_num_threads(THREADS)
    system = load(model)
    scenes, grown = _scenes(system)
    full = _full(system)
    rows = []
    for name, milliseconds in (("scenes", scenes), ("full steps", full)):
        for percent in (50, 99):
            value = float(np.percentile(milliseconds, percent))
            rows.append(row(f"{name}, p{percent} of a step", "ms", value, LIMIT))
        rows.append(row(f"{name}, slowest step", "ms", float(milliseconds.max()), 250.0))
    rows.append(row("memory that the second half of the scenes added", "MiB", grown))
    rows.append(row("peak memory of the process", "MiB", _peak()))
    return rows


def _peak() -> float:
    """MiB."""
    return peak_kilobytes() / 1_024


def _scenes(system: Quintet) -> tuple[np.ndarray, float]:
    """Milliseconds of each step, and how much the peak grew after half of them."""
    session, seed, half = system.session(), 90_000_000, 0.0
    times: list[float] = []
    while len(times) < STEPS + WARM_UP:
        try:
            steps = make_scene(seed, "test").given()
        except UserError:  # without espeak-ng or the font: noise, which costs the same to hear
            rng = np.random.default_rng(seed)
            sound = 0.1 * rng.standard_normal((40, STEP_SAMPLES)).astype(np.float32)
            typed = {5: "what is this?", 20: "draw an apple."}
            steps = [(piece, None, typed.get(step)) for step, piece in enumerate(sound)]
        for given in steps:
            started = time.perf_counter()
            session.step(*given)
            times.append(1_000 * (time.perf_counter() - started))
            if len(times) == STEPS // 2:
                half = _peak()
        seed += 1
    return np.array(times[WARM_UP:]), _peak() - half


class _Talkative(Session):
    """A session that never says `No Output`: it always draws and speaks."""

    @torch.no_grad()
    def __init__(self, system: Quintet) -> None:
        # It yields to nobody, as its speech must not go silent.
        super().__init__(system.model, system.tokenizers, Sampling(yield_above=NEVER))
        decoder = self.decoder
        speak, ask = decoder.choices.frame, decoder._ask_text_image

        # Where a tip is silent, the one of a thousand that is least so speaks in its place.
        generator = torch.Generator().manual_seed(0)
        tips_ND = torch.randn(1_000, system.config.model.d_model, generator=generator)
        loud_1D = tips_ND[system.model.audio_head.silence(tips_ND).argmin()][None]

        def always_speak(hidden_1D: torch.Tensor, *how: Any) -> np.ndarray:
            while (frame := speak(hidden_1D, *how)) is None:
                hidden_1D = loud_1D
            return frame

        def always_draw() -> tuple[object, float]:
            if not decoder.picture_left:
                decoder.picture_left = system.config.image.num_tokens
            return ask()

        decoder.choices.frame = always_speak  # type: ignore[method-assign,assignment]
        decoder._ask_text_image = always_draw  # type: ignore[method-assign,assignment]


def _full(system: Quintet) -> np.ndarray:
    """Milliseconds of each step in which everything happens."""
    session = _Talkative(system)
    times: list[float] = []
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (480, 640, 3), np.uint8)
    window, live = system.config.live.window_steps, system.config.live
    for _ in range(window + WARM_UP + STEPS // 4):
        sound = 0.1 * rng.standard_normal(STEP_SAMPLES).astype(np.float32)
        started = time.perf_counter()
        out = session.step(sound, picture if len(times) % 4 == 0 else None, "draw an apple.")
        times.append(1_000 * (time.perf_counter() - started))
        assert out.counts["image_out"] == live.text_image_rows_per_step and out.speaking
    return np.array(times[window + WARM_UP :])
