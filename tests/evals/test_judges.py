"""The judges know the real thing, and do not hear what is not there."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from quintet.data.world.pictures import render_picture
from quintet.data.world.scenes import assistant_speech
from quintet.data.world.things import THINGS
from quintet.evals.live_scores import names_only
from quintet.evals.picture_judge import PictureJudge
from quintet.evals.recognizer import Recognizer, spell, word_errors
from quintet.evals.word_spotter import WordSpotter
from quintet.media.emoji import render_emoji
from quintet.media.speech import TEST_VOICES, Voice, synthesize

needs_speech = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)


def _has_font() -> bool:
    try:
        render_emoji("🍎")
    except ValueError:
        return False
    return True


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load()


@needs_speech
def test_unseen_voices_are_understood(recognizer: Recognizer) -> None:
    lines = ["This is a penguin.", "Draw me an umbrella.", "One, two, three.", "The red bicycle."]
    errors = words = 0
    for voice in TEST_VOICES:
        for line in lines:
            wrong, total = word_errors(line, recognizer.transcribe(synthesize(line, Voice(voice))))
            errors, words = errors + wrong, words + total
    assert errors / words < 0.2


@needs_speech
def test_single_words_in_the_assistants_voice_are_understood(recognizer: Recognizer) -> None:
    heard = [recognizer.transcribe(assistant_speech(f"{t.name.capitalize()}.")) for t in THINGS]
    right = [names_only(words, thing.name) for words, thing in zip(heard, THINGS, strict=True)]
    assert np.mean(right) > 0.85


@needs_speech
def test_a_second_recognizer_made_elsewhere_knows_the_words() -> None:
    pytest.importorskip("pocketsphinx")
    spotter = WordSpotter.load()
    assert spotter is not None
    said = {thing.name: assistant_speech(f"{thing.name.capitalize()}.") for thing in THINGS}
    heard = {name: spotter.spot(sound) for name, sound in said.items()}
    assert np.mean([heard[name] == name for name in said]) > 0.9
    again = {name: spotter.spot(said[name]) for name in reversed(said)}
    assert again == heard  # whatever was heard before
    assert spotter.spot(np.zeros(24_000, np.float32)) == "" == spotter.spot(np.zeros(0, np.float32))


def test_silence_and_noise_say_nothing_of_note(recognizer: Recognizer) -> None:
    assert recognizer.transcribe(np.zeros(24_000, np.float32)) == ""
    assert recognizer.transcribe(np.zeros(3, np.float32)) == ""
    rng = np.random.default_rng(0)
    names = {thing.name for thing in THINGS}
    noise = [rng.standard_normal(24_000).astype(np.float32) * 0.1 for _ in range(8)]
    assert not any(names & set(recognizer.transcribe(one).split()) for one in noise)


@pytest.mark.skipif(not _has_font(), reason="Noto Color Emoji is not installed")
def test_unseen_pictures_are_recognized() -> None:
    judge, rng = PictureJudge.load(), np.random.default_rng(1)
    right = [judge.name(render_picture(t, rng, "test", 96)) == t.name for t in THINGS * 2]
    assert np.mean(right) > 0.85
    blank = np.full((48, 48, 3), 255, np.uint8)
    assert judge.name(blank) in {thing.name for thing in THINGS}  # it must choose


def test_spelling() -> None:
    assert spell("Hello,  THERE! It's 3.") == "hello there it's"
