"""What the microphone of a scene hears: people, and noise below them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from quintet.config import SAMPLE_RATE


def noise(rng: np.random.Generator, length: int) -> np.ndarray:
    """Noise [length] of a random kind, with unit variance (or none at all): the last thing that
    a scene draws from its generator."""
    kind = int(rng.integers(4))
    if kind == 0:
        return np.zeros(length, np.float32)
    white = rng.standard_normal(length).astype(np.float32)
    if kind == 1:
        return white
    if kind == 2:  # a room: low frequencies dominate
        rumble = np.convolve(white, np.full(32, 32**-0.5, np.float32), "same")
        return rumble.astype(np.float32)
    hum = np.sin(2 * np.pi * rng.choice([50, 60, 100]) * np.arange(length) / SAMPLE_RATE)
    return (hum + 0.3 * white).astype(np.float32)


def microphone(
    sounds: Iterable[tuple[int, np.ndarray]], length: int, split: str, rng: np.random.Generator
) -> np.ndarray:
    """float32 [length] in [-1, 1]: `sounds` at their first samples, at a random loudness, and
    noise below them; in the split "test" at least 25 dB below the loudest, in training 20."""
    heard = np.zeros(length, np.float32)
    for start, sound in sounds:
        sound = sound[: length - start]
        heard[start : start + len(sound)] += sound
    loudness = rng.uniform(0.1, 0.9)
    peak = float(np.abs(heard).max())
    heard *= loudness / peak if peak > 0 else 1.0
    nearest = 20 if split == "train" else 25  # dB below the speech's peak is the noise
    level = loudness * 10 ** (-rng.uniform(nearest, 55) / 20)
    return np.clip(heard + np.float32(level) * noise(rng, length), -1, 1)
