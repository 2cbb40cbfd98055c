"""Whether a model answers in the voice that its system prompt lets it hear.

Scenes of the test split, with a speaker of two kinds: one of the few that training heard often and
a model ships by name, or a throat that training never heard. The answer counts if the recognizer
spells it right, and is laid over the same words in the voice that was asked for, in the model's
own, and in others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quintet.data.world.scenes import Scene, make_scene
from quintet.data.world.speakers import Speaker
from quintet.evals.live_scores import Outcome, SteppedSession, run_scene
from quintet.evals.recognizer import Recognizer, spell, word_errors
from quintet.evals.scores import Score, mean, ratio, share
from quintet.evals.voice_likeness import candidates, nearest, through_codec
from quintet.media.speech import SPEAKERS, synthesize
from quintet.tokenizers.bundle import Tokenizers

KINDS = ("say", "name", "count", "greet")
GROUPS = ("named_speaker", "unheard_speaker")
FIRST_SEED = 110_000_000

Answers = list[tuple[Speaker, Outcome]]


def speaks_as(
    new_session: Callable[[Scene, int], SteppedSession],
    tokenizers: Tokenizers,
    recognizer: Recognizer,
    scenes: int,
    seed: int = 0,
    done: Callable[[], None] = lambda: None,
) -> dict[str, Score]:
    """Every score, from so many scenes.

    Args:
        new_session: makes one that has heard a scene's speaker, from a seed.
        tokenizers: those of the model, through which the real voices go too.
        done: called after each scene.
    """
    answers: dict[str, Answers] = {group: [] for group in GROUPS}
    for index in range(scenes):
        first = FIRST_SEED + seed * 100_000
        scene = make_scene(first + index, "test", KINDS, other_speaker=True)
        assert scene.speaker is not None
        result = run_scene(new_session(scene, index), scene)
        group = GROUPS[scene.speaker.voice not in SPEAKERS.values()]
        answers[group] += [(scene.speaker, outcome) for outcome in result.outcomes]
        done()
    scores: dict[str, Score] = {}
    for group, given in answers.items():
        scores |= _likeness(tokenizers, recognizer, given, group, seed)
        scores |= _words(tokenizers, recognizer, given, group)
    return scores


def _likeness(
    tokenizers: Tokenizers, recognizer: Recognizer, given: Answers, group: str, seed: int
) -> dict[str, Score]:
    """Whose voice it is, and how far from it; and the same of that voice after the codec."""
    right = {
        (outcome.reply.text, speaker.voice): outcome
        for speaker, outcome in given
        if recognizer.transcribe(outcome.speech) == spell(outcome.reply.text)
    }
    found, coded, own = [], [], []
    for (text, voice), outcome in right.items():
        voices = candidates(seed, voice)
        found.append(nearest(outcome.speech, text, voices))
        own.append(found[-1][0] == 1)
        sound = through_codec(tokenizers, synthesize(text, voice))
        coded.append(nearest(sound, text, voices))
    chance = 1 / len(candidates(seed))
    return {
        f"voice_of_{group}_is_nearest": share((index == 0 for index, _ in found), chance),
        f"own_voice_is_nearest_as_{group}": share(own, chance),
        f"decibels_from_{group}": mean([distance for _, distance in found]),
        f"voice_of_{group}_is_nearest_after_codec": share((i == 0 for i, _ in coded), chance),
        f"decibels_from_{group}_after_codec": mean([distance for _, distance in coded]),
    }


def _words(
    tokenizers: Tokenizers, recognizer: Recognizer, given: Answers, group: str
) -> dict[str, Score]:
    """Word error rates: of what it said against what it wrote, and of the voice itself."""
    spoken = [(o.text, o.speech) for _, o in given if len(o.speech) and o.text]
    real: dict[tuple[str, str], np.ndarray] = {
        (outcome.reply.text, speaker.voice.name): outcome.reply.speech for speaker, outcome in given
    }
    heard = recognizer.transcribe
    return {
        f"word_error_rate_of_speech_as_{group}": ratio(
            [word_errors(text, heard(sound)) for text, sound in spoken]
        ),
        f"judge_word_error_rate_{group}": ratio(
            [word_errors(text, heard(sound)) for (text, _), sound in real.items()]
        ),
        f"judge_word_error_rate_{group}_after_codec": ratio(
            [
                word_errors(text, heard(through_codec(tokenizers, sound)))
                for (text, _), sound in real.items()
            ]
        ),
    }
