"""Many spoken lines in one array, for training on sound alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from quintet.config import SAMPLE_RATE, UserError
from quintet.data.world.grammar import KINDS, request
from quintet.media.audio import read_audio
from quintet.media.speech import ASSISTANT_VOICE, random_voice, synthesize
from quintet.whole_file import whole_file

ASSISTANT_SHARE = 0.3  # of the lines: the voice that the decoder will be heard in
LONGEST_GAP = 0.8  # seconds of silence between lines
LINES_AT_ONCE = 256  # spoken before they are written, so that a bank of hours takes little memory
RECORDINGS = (".wav", ".flac", ".ogg", ".mp3")

Speaker = Callable[[np.random.Generator, str], np.ndarray]


def world_line(rng: np.random.Generator, split: str) -> np.ndarray:
    """A line of the world, spoken: float32 [samples] at 24 kHz.

    In the split "test" nobody speaks with the assistant's voice, which training knows.
    """
    line = request(str(rng.choice(KINDS)), rng)
    if split == "train" and line.reply and rng.random() < ASSISTANT_SHARE:
        return synthesize(line.reply, ASSISTANT_VOICE)
    return synthesize(line.text, random_voice(rng, split))


class SpeechBank:
    """Spoken lines with gaps between them: `samples`, float16 in [-1, 1] at 24 kHz."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples

    @classmethod
    def make(
        cls, folder: Path, count: int, seed: int, split: str, speaker: Speaker = world_line
    ) -> SpeechBank:
        """Let `speaker` speak `count` lines of `split`, or read them from `folder` if they were
        spoken before. Line i depends on (seed, split, i) alone."""
        path = folder / f"{split}-{speaker.__name__}-{count}-{seed}.f16"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file, ThreadPoolExecutor(os.cpu_count()) as pool:
                for start in range(0, count, LINES_AT_ONCE):
                    rngs = [
                        np.random.default_rng((seed, split == "test", index))
                        for index in range(start, min(count, start + LINES_AT_ONCE))
                    ]
                    for line in pool.map(lambda rng: _with_gap(speaker(rng, split), rng), rngs):
                        line.astype(np.float16).tofile(file)
        return cls(np.memmap(path, np.float16, "r"))

    @classmethod
    def from_recordings(cls, folder: Path) -> SpeechBank:
        """Every sound file below `folder`, one after the other.

        Raises:
            UserError: there is none, or one cannot be read.
        """
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in RECORDINGS)
        if not paths:
            raise UserError(
                f"{folder} holds no sound; put {', '.join(RECORDINGS)} files there, or name "
                "another folder."
            )
        return cls(np.concatenate([read_audio(path).astype(np.float16) for path in paths]))

    def lasting(self, seconds: float, setting: str) -> SpeechBank:
        """This bank, if a clip of so many seconds fits into it.

        Raises:
            UserError: it is shorter; `setting` says in a recipe how much it holds.
        """
        length = len(self.samples) / SAMPLE_RATE
        if length < seconds:
            raise UserError(
                f"The {setting} last {length:.1f} s, less than one clip of {seconds:g} s; raise "
                f"{setting}."
            )
        return self

    def clip(
        self, rng: np.random.Generator, length: int, starts: list[float] | None = None
    ) -> np.ndarray:
        """A random stretch of `length` samples, float32, at a random loudness; the second at
        which it begins is added to `starts`."""
        assert length <= len(self.samples), "the bank is shorter than a clip"
        start = int(rng.integers(0, len(self.samples) - length + 1))
        if starts is not None:
            starts.append(start / SAMPLE_RATE)
        speech = self.samples[start : start + length].astype(np.float32)
        gain = rng.uniform(0.1, 0.95) / max(0.05, float(np.abs(speech).max()))
        return speech * np.float32(gain)


def microphone_noise(rng: np.random.Generator, length: int) -> np.ndarray:
    """Noise of a random colour and level, float32 [length]: 76 to 30 dB below full scale."""
    white = rng.standard_normal(length, np.float32)
    if rng.random() < 0.5:  # a room: low frequencies dominate
        white = np.convolve(white, np.full(16, 0.25, np.float32), "same").astype(np.float32)
    return white * np.float32(10 ** rng.uniform(-3.8, -1.5))


def _with_gap(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gap = round(rng.uniform(0, LONGEST_GAP) * SAMPLE_RATE)
    return np.concatenate([speech, np.zeros(gap, np.float32)])
