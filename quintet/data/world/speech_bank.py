"""Many spoken lines of the world in one array, for training on sound alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from quintet.config import SAMPLE_RATE
from quintet.data.world.grammar import KINDS, request
from quintet.media.speech import ASSISTANT_VOICE, random_voice, synthesize

ASSISTANT_SHARE = 0.3  # of the lines: the voice that the decoder will be heard in
LONGEST_GAP = 0.8  # seconds of silence between lines


class SpeechBank:
    """Spoken lines with gaps between them: `samples`, float16 in [-1, 1] at 24 kHz."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples

    @classmethod
    def make(cls, folder: Path, count: int, seed: int, split: str) -> SpeechBank:
        """Speak `count` lines, or read them from `folder` if they were spoken before.

        In the split "test" nobody speaks with the assistant's voice, which training knows.
        """
        path = folder / f"{split}-{count}-{seed}.npy"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng((seed, split == "test"))
            pieces = []
            for _ in range(count):
                line = request(str(rng.choice(KINDS)), rng)
                spoken = split == "train" and line.reply and rng.random() < ASSISTANT_SHARE
                voice = ASSISTANT_VOICE if spoken else random_voice(rng, split)
                pieces.append(synthesize(line.reply if spoken else line.text, voice))
                gap = round(rng.uniform(0, LONGEST_GAP) * SAMPLE_RATE)
                pieces.append(np.zeros(gap, np.float32))
            partial = path.with_suffix(".partial.npy")
            np.save(partial, np.concatenate(pieces).astype(np.float16))
            partial.replace(path)
        return cls(np.load(path, mmap_mode="r"))

    def clip(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """A random stretch of `length` samples, float32, at a random loudness, with noise."""
        start = int(rng.integers(0, len(self.samples) - length))
        speech = self.samples[start : start + length].astype(np.float32)
        gain = rng.uniform(0.1, 0.95) / max(0.05, float(np.abs(speech).max()))
        noise_level = 10 ** rng.uniform(-4, -2.2)
        noise = rng.standard_normal(length, np.float32) * np.float32(noise_level)
        return np.clip(speech * np.float32(gain) + noise, -1, 1)
