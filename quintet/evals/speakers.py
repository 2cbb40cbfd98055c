"""Whether a model answers in the voice that its system prompt lets it hear.

Scenes of the test split, with a speaker of two kinds: one of the few that training heard often and
a model ships by name, or a throat that training never heard. What it said is laid over the same
words in the voice that was asked for, in the model's own, and in others; and the same is done with
the voice itself after the codec, which at 480 bit/s keeps little of a throat.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quintet.data.world.scenes import Scene, make_scene
from quintet.data.world.seeds import SEEDS_OF_A_KIND, seeds_of
from quintet.data.world.speakers import Speaker
from quintet.evals.live_scores import Outcome, SceneResult, SteppedSession, run_scene
from quintet.evals.recognizer import Recognizer, word_errors
from quintet.evals.scores import Score, mean, ratio, share
from quintet.evals.voice_likeness import candidates, distances, said_by, through_codec
from quintet.media.speech import SPEAKERS, Voice
from quintet.tokenizers.bundle import Tokenizers

KINDS = ("say", "name", "count", "greet")
GROUPS = ("named_speaker", "unheard_speaker")

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
    played: dict[str, list[SceneResult]] = {group: [] for group in GROUPS}
    for index, scene_seed in enumerate(seeds_of("eval_speakers", seed * SEEDS_OF_A_KIND, scenes)):
        scene = make_scene(scene_seed, "test", KINDS, other_speaker=True)
        assert scene.speaker is not None
        group = GROUPS[scene.speaker.voice not in SPEAKERS.values()]
        played[group].append(run_scene(new_session(scene, index), scene))
        done()
    scores: dict[str, Score] = {}
    for group, results in played.items():
        given = [(r.scene.speaker, o) for r in results for o in r.outcomes if r.scene.speaker]
        scores |= _manners(results, group)
        scores |= _likeness(tokenizers, given, group, seed)
        scores |= _words(tokenizers, recognizer, given, group)
    return scores


def _manners(results: list[SceneResult], group: str) -> dict[str, Score]:
    """Whether it does as in its own voice: answers, rightly, and is silent else."""
    outcomes = [outcome for result in results for outcome in result.outcomes]
    scenes = [id(outcome.scene) for outcome in outcomes]
    quiet = [(r, step) for r in results for step in range(r.quiet_steps)]
    return {
        f"answers_in_exact_words_as_{group}": share((o.is_exact for o in outcomes), scenes=scenes),
        f"false_output_steps_as_{group}": share(
            (step < r.false_output_steps for r, step in quiet),
            scenes=[id(r.scene) for r, _ in quiet],
        ),
    }


def _likeness(tokenizers: Tokenizers, given: Answers, group: str, seed: int) -> dict[str, Score]:
    """Whose voice it is, and how far from it; and the same of that voice after the codec.

    An answer in a voice counts once, and only if it is written right.
    """
    right = {
        (outcome.reply.text, speaker.voice): outcome
        for speaker, outcome in given
        if outcome.is_exact and len(outcome.speech)
    }
    scenes = [id(outcome.scene) for outcome in right.values()]
    chance, scores = 1 / len(candidates(seed)), dict[str, Score]()
    found: dict[str, list[list[float]]] = {"": [], "_after_codec": []}
    for (text, voice), outcome in right.items():
        said = said_by(text, candidates(seed, voice))
        found[""].append(distances(outcome.speech, said))
        coded = through_codec(tokenizers, outcome.reply.speech)
        found["_after_codec"].append(distances(coded, said))
    for way, each in found.items():
        is_nearest = (asked < min(others) for asked, *others in each)
        is_nearer = (asked < own for asked, own, *_ in each)
        scores |= {
            f"voice_of_{group}_is_nearest{way}": share(is_nearest, chance, scenes),
            f"nearer_to_{group}_than_to_own_voice{way}": share(is_nearer, 0.5, scenes),
            f"decibels_from_{group}{way}": mean([asked for asked, *_ in each], scenes=scenes),
        }
    return scores


def _words(
    tokenizers: Tokenizers, recognizer: Recognizer, given: Answers, group: str
) -> dict[str, Score]:
    """Word error rates: of what it said against what it wrote, and of the voice itself."""
    spoken = [outcome for _, outcome in given if len(outcome.speech) and outcome.text]
    real: dict[tuple[str, Voice], np.ndarray] = {
        (outcome.reply.text, speaker.voice): outcome.reply.speech for speaker, outcome in given
    }
    heard = recognizer.transcribe
    return {
        f"word_error_rate_of_speech_as_{group}": ratio(
            [word_errors(o.text, heard(o.speech)) for o in spoken],
            scenes=[id(o.scene) for o in spoken],
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
