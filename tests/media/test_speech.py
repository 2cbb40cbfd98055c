"""Synthetic speech is deterministic, and no voice is in two lists."""

import numpy as np
import pytest
from conftest import needs_world

from quintet.config import SAMPLE_RATE, UserError
from quintet.media import speech
from quintet.media.emoji import render_emoji
from quintet.media.speech import (
    ASSISTANT_VOICE,
    TEST_VOICES,
    TRAIN_VOICES,
    Voice,
    random_voice,
    synthesize,
)


def test_no_voice_is_in_two_lists() -> None:
    names = [*TRAIN_VOICES, *TEST_VOICES, ASSISTANT_VOICE.name]
    assert len(set(names)) == len(names)
    assert len(TRAIN_VOICES) >= 14
    assert len(TEST_VOICES) >= 4


@needs_world
def test_every_voice_exists_and_differs() -> None:
    names = [*TRAIN_VOICES, *TEST_VOICES, ASSISTANT_VOICE.name]
    # An unknown variant is silently spoken by the plain voice: equal sounds would betray it.
    sounds = {synthesize("good morning.", Voice(name)).tobytes() for name in names}
    assert len(sounds) == len(names)


@needs_world
def test_speech_is_deterministic_trimmed_and_in_range() -> None:
    first, second = (synthesize("this is an apple.", ASSISTANT_VOICE) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.dtype == np.float32
    assert first.ndim == 1
    assert 0.5 < len(first) / SAMPLE_RATE < 3
    assert 0.05 < np.abs(first).max() <= 1
    edge = SAMPLE_RATE // 50
    assert np.abs(first[:edge]).max() > 0
    assert np.abs(first[-edge:]).max() > 0


@needs_world
def test_nothing_to_say_is_no_sound() -> None:
    assert len(synthesize("", ASSISTANT_VOICE)) == 0


@pytest.mark.parametrize("split", ["train", "test"])
def test_random_voices_stay_in_their_split(split: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        voice = random_voice(rng, split)
        assert voice.name in (TRAIN_VOICES if split == "train" else TEST_VOICES)
        assert 130 <= voice.speed <= 190
        assert 30 <= voice.pitch <= 70


@needs_world
def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(UserError, match="choose another voice"):
        synthesize("hello", Voice("zz"))


def test_a_missing_synthesizer_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(speech.subprocess, "run", missing)
    with pytest.raises(UserError, match="Debian package espeak-ng"):
        synthesize("hello", ASSISTANT_VOICE)


@needs_world
def test_emoji_have_colour_and_transparency() -> None:
    image = render_emoji("🍎")
    assert image.mode == "RGBA"
    pixels = np.asarray(image)
    assert pixels[..., 3].min() == 0
    assert pixels[..., 3].max() == 255
    assert np.ptp(pixels[..., :3].reshape(-1, 3).astype(int), axis=1).max() > 60
