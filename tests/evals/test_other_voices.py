"""Scores in the voices of others, of players who know what is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import needs_world
from players import Player, Silent

from quintet.data.world.scenes import Scene, assistant_speech, make_scene
from quintet.evals.recognizer import Recognizer
from quintet.evals.speakers import GROUPS, KINDS, speaks_as
from quintet.live import load
from quintet.media.speech import SPEAKERS, TEST_VOICES
from quintet.tokenizers.bundle import Tokenizers

SCENES = 8


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    return load("nano").tokenizers


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load()


def _in_own_voice(scene: Scene, number: int) -> Player:
    """Right words, with no ear for the speaker."""
    replies = (replace(r, speech=assistant_speech(r.text)) for r in scene.replies)
    return Player(replace(scene, replies=tuple(replies)))


@needs_world
def test_who_speaks_as_asked_is_told_from_who_does_not(
    tokenizers: Tokenizers, recognizer: Recognizer
) -> None:
    seen: list[Scene] = []

    def player(scene: Scene, number: int) -> Player:
        seen.append(scene)
        return Player(scene)

    right = speaks_as(player, tokenizers, recognizer, SCENES)
    wrong = speaks_as(_in_own_voice, tokenizers, recognizer, SCENES)
    voices = [scene.speaker.voice for scene in seen if scene.speaker]
    assert len(voices) == SCENES and {v in SPEAKERS.values() for v in voices} == {True, False}
    assert {v.name for v in voices if v not in SPEAKERS.values()} <= set(TEST_VOICES)
    for group in GROUPS:
        asked = right[f"voice_of_{group}_is_nearest"]
        assert asked.n and asked.value == 1 and asked.chance == 1 / 8
        assert right[f"nearer_to_{group}_than_to_own_voice"].value == 1
        assert (right[f"decibels_from_{group}"].value or 0) < 2  # cut where a scene ends
        assert (right[f"decibels_from_{group}_after_codec"].value or 0) > 2
        assert wrong[f"voice_of_{group}_is_nearest"].value == 0
        assert wrong[f"nearer_to_{group}_than_to_own_voice"].value == 0
        # What was said is what the recognizer is given: here the voice itself.
        assert right[f"answers_in_exact_words_as_{group}"].value == 1
        assert right[f"false_output_steps_as_{group}"].value == 0
        words = right[f"word_error_rate_of_speech_as_{group}"].value
        assert words == pytest.approx(right[f"judge_word_error_rate_{group}"].value or 0, abs=0.2)


@needs_world
def test_silence_is_nobodys_voice(tokenizers: Tokenizers, recognizer: Recognizer) -> None:
    scores = speaks_as(lambda s, number: Silent(s), tokenizers, recognizer, SCENES)
    for group in GROUPS:
        assert scores[f"answers_in_exact_words_as_{group}"].value == 0
        assert scores[f"voice_of_{group}_is_nearest"].value is None
        assert scores[f"word_error_rate_of_speech_as_{group}"].value is None


@needs_world
def test_who_answers_the_prompt_is_found_out(
    tokenizers: Tokenizers, recognizer: Recognizer
) -> None:
    """As if the speaker had asked for something."""

    def early(scene: Scene, number: int) -> Player:
        first = replace(scene.replies[0], step=1)
        return Player(replace(scene, replies=(first, *scene.replies)))

    scores = speaks_as(early, tokenizers, recognizer, SCENES)
    assert all((scores[f"false_output_steps_as_{group}"].value or 0) > 0 for group in GROUPS)


@needs_world
def test_scenes_are_a_function_of_the_seed(tokenizers: Tokenizers, recognizer: Recognizer) -> None:
    calls, seen = [0], []

    def player(scene: Scene, number: int) -> Silent:
        seen.append(scene.seed)
        return Silent(scene)

    for seed in (0, 0, 1):
        speaks_as(player, tokenizers, recognizer, 2, seed, lambda: calls.append(0))
    assert len(calls) == 7
    assert seen[:2] == seen[2:4] and not set(seen[:2]) & set(seen[4:])
    scene = make_scene(seen[0], "test", KINDS, other_speaker=True)
    assert scene.speaker is not None and np.abs(scene.speaker.sound).max() > 0.1
