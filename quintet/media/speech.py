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

# What else it can sound like, where the system prompt holds such a voice.
SPEAKERS = {
    "adam": Voice("en-us+adam", 145, 40), "anika": Voice("en-us+anika", 150, 55),
    "diogo": Voice("en-us+Diogo", 145, 45), "linda": Voice("en-us+linda", 145, 60),
    "max": Voice("en-us+max", 150, 35), "robert": Voice("en-us+robert", 145, 50),
    "steph": Voice("en-us+steph", 150, 60),
}  # fmt: skip

ACCENTS = ("en-us", "en", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-029")
THROATS = (
    "Alex", "Alicia", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky",
    "Lee", "Marco", "Mario", "Mike", "Nguyen", "Storm", "adam", "anika", "antonio", "benjamin",
    "boris", "caleb", "david", "ed", "edward", "f1", "f2", "f3", "f4", "f5", "gustave", "iven",
    "iven2", "john", "kaukovalta", "klatt2", "klatt4", "linda", "m1", "m2",
    "m3", "m4", "m5", "m6", "m7", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul",
    "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "steph2", "travis", "victor",
    "whisperf", "zac",
)  # fmt: skip
TEST_VOICES = ("en-us+Michael", "en-us+aunty", "en+m8", "en+Andrea", "en-gb-x-rp+belinda")


def throat(name: str) -> str:
    """Whose voice it is, whatever the accent: what follows the plus sign."""
    return name.partition("+")[2]


TRAIN_THROATS = tuple(name for name in THROATS if name != throat(ASSISTANT_VOICE.name))
assert not set(map(throat, TEST_VOICES)) & set(THROATS)


def random_voice(rng: np.random.Generator, split: str) -> Voice:
    """A voice of `split` at a random speed and pitch.

    "train" has any accent of English from any throat; the throats of "test" are no other's, and
    its speeds and pitches lie within those of training.
    """
    if split == "test":
        name = TEST_VOICES[int(rng.integers(len(TEST_VOICES)))]
        return Voice(name, int(rng.integers(130, 191)), int(rng.integers(30, 71)))
    accent = ACCENTS[int(rng.integers(len(ACCENTS)))]
    name = f"{accent}+{TRAIN_THROATS[int(rng.integers(len(TRAIN_THROATS)))]}"
    return Voice(name, int(rng.integers(120, 201)), int(rng.integers(25, 76)))


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
