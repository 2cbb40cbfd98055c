"""Synthetic speech is deterministic, and no voice is in two lists."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_world

from quintet.config import SAMPLE_RATE, UserError
from quintet.media import espeak
from quintet.media.emoji import render_emoji
from quintet.media.speech import (
    ACCENTS,
    ASSISTANT_VOICE,
    TEST_VOICES,
    TRAIN_THROATS,
    Voice,
    random_voice,
    say,
    synthesize,
    throat,
)


def test_no_voice_is_in_two_lists() -> None:
    throats = [*TRAIN_THROATS, *map(throat, TEST_VOICES), throat(ASSISTANT_VOICE.name)]
    assert len(set(throats)) == len(throats)
    assert len(TRAIN_THROATS) > 50
    assert len(TEST_VOICES) >= 4


@needs_world
def test_every_voice_exists_and_differs() -> None:
    names = [f"{accent}+{name}" for accent in ACCENTS for name in TRAIN_THROATS]
    names += [*ACCENTS, *TEST_VOICES, ASSISTANT_VOICE.name]
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
        if split == "train":
            assert throat(voice.name) in TRAIN_THROATS
        else:
            assert voice.name in TEST_VOICES
        assert 120 <= voice.speed <= 200
        assert 25 <= voice.pitch <= 75


@needs_world
def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(UserError, match="choose another voice"):
        synthesize("hello", Voice("zz"))


def test_a_missing_synthesizer_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "espeak_process.py"
    text = espeak.PROGRAM.read_text(encoding="utf-8")
    program.write_text(text.replace("libespeak-ng", "libmissing"), encoding="utf-8")
    espeak.close()
    monkeypatch.setattr(espeak, "PROGRAM", program)
    with pytest.raises(UserError, match="Debian package espeak-ng"):
        synthesize("hello", ASSISTANT_VOICE)
    espeak.close()


@needs_world
def test_every_word_is_where_it_is_said() -> None:
    sound, words = say("Good night, 12345 sheep of the king's: sleep well.", ASSISTANT_VOICE)
    said = " ".join(word.text for word in words)
    assert said == "Good night, 12345 sheep of the king's: sleep well."
    assert words[0].start == 0 and words[-1].end == len(sound)
    assert all(first.end <= after.start for first, after in pairwise(words))
    pause = sound[words[1].end : words[2].start]  # after the comma
    assert len(pause) > SAMPLE_RATE // 50
    assert np.abs(pause).max() < 1e-3
    alone = len(synthesize("12345", ASSISTANT_VOICE))
    assert 0.5 * alone < words[2].end - words[2].start < 1.2 * alone


@needs_world
def test_many_threads_speak_at_once_and_alike() -> None:
    texts = ["one.", "two, three.", "four."] * 4
    with ThreadPoolExecutor(4) as pool:
        sounds = list(pool.map(lambda text: synthesize(text, ASSISTANT_VOICE), texts))
    for text, sound in zip(texts, sounds, strict=True):
        assert np.array_equal(sound, synthesize(text, ASSISTANT_VOICE))


@needs_world
def test_a_process_that_ended_is_an_error_once() -> None:
    espeak.close()
    synthesize("hello", ASSISTANT_VOICE)
    (process,) = espeak._idle
    process.kill()
    process.wait()
    with pytest.raises(UserError, match="again"):
        synthesize("hello", ASSISTANT_VOICE)
    assert len(synthesize("hello", ASSISTANT_VOICE))


@needs_world
def test_emoji_have_colour_and_transparency() -> None:
    image = render_emoji("🍎")
    assert image.mode == "RGBA"
    pixels = np.asarray(image)
    assert pixels[..., 3].min() == 0
    assert pixels[..., 3].max() == 255
    assert np.ptp(pixels[..., :3].reshape(-1, 3).astype(int), axis=1).max() > 60
