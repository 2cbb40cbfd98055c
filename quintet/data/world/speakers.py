"""The voice that the assistant should have: a speaker, heard for a moment in the system prompt.

Half of the speakers of training and of test are the same few, which a model ships by name; the
others have any throat that the split knows, so that a model must listen and not only choose.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from quintet.config import LEAST_SPEAKER_STEPS, MOST_SPEAKER_STEPS, STEP_SAMPLES
from quintet.data.world.grammar import KINDS, request
from quintet.media.speech import SPEAKERS, TEST_VOICES, TRAIN_THROATS, Voice, synthesize, throat

NAMED_SHARE = 0.5
PITCHES = (30, 71)  # of those that have no name
SPEED = 145  # words a minute, as the assistant's own voice: a moment's hearing tells it badly
# What a speaker with a name says there: requests, as the others do. A model that learned to let
# such lines pass may answer one of another kind, in every session that begins with it.
HEARD = "draw me some fire. please repeat: a yellow flower."


@dataclass(frozen=True)
class Speaker:
    """A voice, and what of it is heard: float32 [S], whole steps."""

    voice: Voice
    sound: np.ndarray


def whole_steps(sound: np.ndarray) -> np.ndarray:
    """The first `MOST_SPEAKER_STEPS` of a sound, filled up to whole steps."""
    sound = sound[: MOST_SPEAKER_STEPS * STEP_SAMPLES]
    return np.pad(sound, (0, -len(sound) % STEP_SAMPLES))


def named_speaker(name: str) -> Speaker:
    """One of `SPEAKERS`, always with the same sound."""
    return Speaker(SPEAKERS[name], whole_steps(synthesize(HEARD, SPEAKERS[name])))


def draw_speaker(seed: int, split: str, present: Collection[Voice]) -> Speaker:
    """A speaker of `split`, a pure function of the seed, who is nobody of those present."""
    rng = np.random.default_rng((seed, split == "test", 31))
    taken = {throat(voice.name) for voice in present}
    while True:
        voice = _draw_voice(rng, split)
        if throat(voice.name) not in taken:
            break
    # What is said means nothing: any two lines, cut off anywhere after a second.
    said = " ".join(request(str(kind), rng).text for kind in rng.choice(KINDS, 2))
    steps = int(rng.integers(LEAST_SPEAKER_STEPS, MOST_SPEAKER_STEPS + 1))
    return Speaker(voice, whole_steps(synthesize(said, voice)[: steps * STEP_SAMPLES]))


def _draw_voice(rng: np.random.Generator, split: str) -> Voice:
    if rng.random() < NAMED_SHARE:
        names = list(SPEAKERS)
        return SPEAKERS[names[int(rng.integers(len(names)))]]
    pitch = int(rng.integers(*PITCHES))
    if split == "test":
        return Voice(TEST_VOICES[int(rng.integers(len(TEST_VOICES)))], SPEED, pitch)
    return Voice(f"en-us+{TRAIN_THROATS[int(rng.integers(len(TRAIN_THROATS)))]}", SPEED, pitch)
