"""Text to speech by espeak-ng: many voices, offline, hundreds of times faster than speaking."""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from quintet.config import SAMPLE_RATE, UserError


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


def synthesize(text: str, voice: Voice) -> np.ndarray:
    """Speech, float32 [samples] at 24 kHz, digital silence cut at both ends; deterministic.

    Raises:
        UserError: espeak-ng is not installed, or failed.
    """
    command = ["espeak-ng", "-v", voice.name, "-s", str(voice.speed), "-p", str(voice.pitch)]
    try:
        done = subprocess.run(
            [*command, "--stdout", "--stdin"], input=text.encode(), capture_output=True, check=True
        )
    except FileNotFoundError:
        raise UserError(
            "The synthetic world speaks with espeak-ng, which is not installed; "
            "install the Debian package espeak-ng."
        ) from None
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"espeak-ng could not speak as {voice.name} ({error.stderr.decode().strip()}); "
            "choose another voice."
        ) from None
    if not done.stdout:  # what it makes of an unknown language, or of an empty text
        if not text.strip():
            return np.zeros(0, np.float32)
        raise UserError(f"espeak-ng has no voice {voice.name}; choose another voice.")
    sound, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    loud = np.flatnonzero(np.abs(sound) > 1e-4)
    if not len(loud):
        return np.zeros(0, np.float32)
    sound = soxr.resample(sound[loud[0] : loud[-1] + 1], rate, SAMPLE_RATE)
    return np.clip(sound, -1, 1).astype(np.float32)
