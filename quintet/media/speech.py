"""Text to speech by espeak-ng: many voices, offline, hundreds of times faster than speaking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from quintet.config import SAMPLE_RATE
from quintet.media import espeak


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice: `name` is language and variant, such as "en-us+f3"."""

    name: str
    speed: int = 160  # words a minute
    pitch: int = 50  # 0 to 99


# What the assistant sounds like; nobody else has this voice.
ASSISTANT_VOICE = Voice("en-us+f2", speed=145, pitch=55)

TRAIN_VOICES = (
    "en-us", "en-us+m1", "en-us+m3", "en-us+m5", "en-us+m7", "en-us+f1", "en-us+f4",
    "en-us+Annie", "en-us+Andy", "en-us+linda", "en-us+rob", "en-us+Alicia", "en-us+adam",
    "en", "en+m2", "en+m4", "en+f3", "en+f5", "en+steph", "en+john", "en+Mike", "en+anika",
    "en-gb-x-rp+m6", "en-gb-x-rp+f4", "en-gb-scotland+m3", "en-gb-scotland+f1",
    "en-us-nyc+m1", "en-us-nyc+f3", "en-029+m2", "en-029+f5", "en-gb-x-gbclan+f1",
)  # fmt: skip
TEST_VOICES = ("en-us+Michael", "en-us+aunty", "en+m8", "en+Andrea", "en-gb-x-rp+belinda")


def random_voice(rng: np.random.Generator, split: str) -> Voice:
    """A voice of `split` ("train" or "test": disjoint) at a random speed and pitch."""
    names = TRAIN_VOICES if split == "train" else TEST_VOICES
    return Voice(
        names[int(rng.integers(len(names)))], int(rng.integers(130, 191)), int(rng.integers(30, 71))
    )


@dataclass(frozen=True)
class Word:
    """A word where it is said; samples at 24 kHz, `end` is one past its last."""

    text: str
    start: int
    end: int

    def later(self, samples: int) -> Word:
        """The same word, `samples` later."""
        return Word(self.text, self.start + samples, self.end + samples)


def synthesize(text: str, voice: Voice) -> np.ndarray:
    """Speech, float32 [samples] at 24 kHz, digital silence cut at both ends; deterministic.

    Raises:
        UserError: espeak-ng is not installed, or failed.
    """
    return say(text, voice)[0]


def say(text: str, voice: Voice) -> tuple[np.ndarray, tuple[Word, ...]]:
    """The same, and its words in order: where one ends there may be silence before the next.

    Raises:
        UserError: as `synthesize`.
    """
    spoken = espeak.speak(text, voice.name, voice.speed, voice.pitch)
    sound = spoken.samples.astype(np.float32) / 2**15
    loud = np.flatnonzero(np.abs(sound) > 1e-4)
    if not len(loud):
        return np.zeros(0, np.float32), ()
    first, ratio = int(loud[0]), SAMPLE_RATE / spoken.rate
    starts = _word_starts(text, spoken)
    ends = [start for _, start in starts[1:]] + [len(sound)]
    words = []
    for (characters, start), end in zip(starts, ends, strict=True):
        own = loud[np.searchsorted(loud, start) : np.searchsorted(loud, end)]
        if len(own) and characters:
            edges = round((own[0] - first) * ratio), round((own[-1] + 1 - first) * ratio)
            words.append(Word(characters, *edges))
    sound = soxr.resample(sound[first : loud[-1] + 1], spoken.rate, SAMPLE_RATE)
    return np.clip(sound, -1, 1).astype(np.float32), tuple(words)


def _word_starts(text: str, spoken: espeak.Spoken) -> list[tuple[str, int]]:
    """Each word with what is written up to the next, and the sample at which espeak-ng begins it.

    A long number is spoken in several parts, of which some are told as earlier ones: without a
    space between, here it is one word.
    """
    starts: list[tuple[int, int]] = []
    for place, sample in spoken.words:
        if not starts or any(map(str.isspace, text[starts[-1][0] : place])):
            starts.append((place, sample))
    places = [place for place, _ in starts[1:]] + [len(text)]
    return [
        (text[start:end].strip(), sample)
        for (start, sample), end in zip(starts, places, strict=True)
    ]
