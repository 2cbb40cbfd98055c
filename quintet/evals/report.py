"""The report card: every score of a model on held-out scenes, as JSON and as a page.

Voices, backgrounds and picture sizes are those that training never saw. What is said is judged
by a recognizer, what is drawn by a classifier; how good these are themselves, on the real thing
and on the real thing after tokenization, stands beside the scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from quintet.data.world.grammar import GREETINGS, NUMBERS
from quintet.data.world.scenes import Scene, make_scene
from quintet.data.world.seeds import SEEDS_OF_A_KIND, seeds_of
from quintet.evals.behaviour import (
    ENCOUNTERS,
    KINDS,
    behaviour,
    encounters,
    length,
    not_addressed,
    silence,
    turn_taking,
)
from quintet.evals.counting import counting, play_counted
from quintet.evals.judging import GUESS, Judges, judge_ceilings
from quintet.evals.live_scores import Outcome, Results, SceneResult, outcomes_of, run_scene
from quintet.evals.messages import in_turns
from quintet.evals.page import write_page
from quintet.evals.recognizer import word_errors
from quintet.evals.scores import Score, mean, median, ratio, share
from quintet.evals.speakers import GROUPS, speaks_as
from quintet.evals.text_bits import bits_per_byte
from quintet.evals.voice_likeness import candidates, nearest, through_codec
from quintet.evals.word_spotter import WordSpotter
from quintet.live import Quintet, Sampling, Session
from quintet.media.speech import SPEAKERS
from quintet.tokenizers.bundle import Tokenizers
from quintet.whole_file import write_whole

# Kinds of scene, by what is asked in them; nothing at all is said in a quiet one.
SCENES: dict[str, tuple[str, ...]] = {
    "name": ("name",), "draw": ("draw",), "say": ("say",), "repeat": ("repeat",),
    "count": ("count",), "greet": ("greet",), "chatter": ("chatter",), "quiet": (),
    "check": ("check",),
}  # fmt: skip
# Answers in exact words, and what a random one of those that the world has would get. It counts
# to two at least. Phrases to repeat are beyond counting. "Yes, this is" what is asked for is right
# every other time.
EXACT: dict[str, tuple[str, float | None]] = {
    "repeat": ("repeats", None),
    "check": ("tells_yes_from_no", 1 / 2),
    "count": ("counts", 1 / (len(NUMBERS) - 1)),
    "greet": ("greets", 1 / len(set(GREETINGS.values()))),
}
MINUTES = 30.0
EDGE_MINUTES = 3.0  # at the beginning and at the end of a long session


def evaluate(
    model: Quintet, out: Path, scenes_per_kind: int = 40, seed: int = 0, minutes: float = MINUTES
) -> dict[str, Any]:
    """Score `model`, write report.json and report.html into `out`, return what the first holds.

    Args:
        minutes: that a silence and a session full of requests last; 0 leaves both out.

    Raises:
        UserError: espeak-ng or the font, which the world is made with, is not installed.
    """
    judges = Judges()
    results = play(model, scenes_per_kind, seed)
    scores = score_all(results, judges) | in_time(model, results, scenes_per_kind, seed, minutes)
    counted = count(model, scenes_per_kind, seed)
    scores |= counting(counted)
    scores |= as_speakers(model, judges, scenes_per_kind, seed) | bits_per_byte(model, seed)
    scores |= in_turns(model, judges.pictures.name, 2 * scenes_per_kind, seed)
    scores |= voice(results, judges, model.tokenizers, seed)
    scores |= judge_ceilings(results, judges, model.tokenizers, seed)
    played = [result.scene for some in (*results.values(), counted) for result in some]
    report = {
        "model": model.config.name,
        "scenes_per_kind": scenes_per_kind,
        "minutes": minutes,
        "seed": seed,
        "scenes_digest": digest([*played, *(next(encounters(k, 1, seed)) for k in KINDS)]),
        "second_recognizer": judges.spotter is not None,
        "scores": {name: score.to_dict() for name, score in scores.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "report.json", json.dumps(report, indent=2) + "\n")
    shown = results | {"how_many": counted}
    write_page(out / "report.html", report, shown, judges.recognizer, judges.pictures)
    return report


def digest(scenes: Iterable[Scene]) -> str:
    """Of what is given in scenes and what is right there, in short: reports with other digests
    are of other scenes, as the world has changed, or speaks otherwise on another machine. Of the
    encounters there is one of each kind, and nothing of speakers, messages or the long session."""
    hashed = hashlib.sha256()
    for scene in scenes:
        for sound, picture, text in scene.given():
            hashed.update(sound.tobytes() + (b"" if picture is None else picture.tobytes()))
            hashed.update(repr(text).encode())
        hashed.update(repr([(r.step, r.until_step, r.text) for r in scene.replies]).encode())
    return hashed.hexdigest()[:16]


def play(model: Quintet, scenes_per_kind: int, seed: int) -> Results:
    """Every held-out scene through a session of its own."""
    results: Results = {}
    with Progress(transient=True) as progress:
        bar = progress.add_task("scenes", total=len(SCENES) * scenes_per_kind)
        for number, (kind, asked) in enumerate(SCENES.items()):
            first = (seed * len(SCENES) + number) * SEEDS_OF_A_KIND
            results[kind] = []
            for index, scene_seed in enumerate(seeds_of("eval", first, scenes_per_kind)):
                scene = make_scene(scene_seed, "test", kinds=asked)
                session = model.session(Sampling(), seed=index)
                results[kind].append(run_scene(session, scene))
                progress.advance(bar)
    return results


def count(model: Quintet, scenes: int, seed: int) -> list[SceneResult]:
    """Scenes in which several of a thing are shown, each through a session of its own."""
    with Progress(transient=True) as progress:
        bar = progress.add_task("counting", total=scenes)
        return play_counted(
            lambda number: model.session(Sampling(), seed=number), scenes, seed,
            lambda: progress.advance(bar),
        )  # fmt: skip


def in_time(
    model: Quintet, results: Results, scenes_per_kind: int, seed: int, minutes: float
) -> dict[str, Score]:
    """Behaviour in time: in encounters, in the scenes already played, and for long."""

    def session(number: int) -> Session:
        return model.session(Sampling(), seed=number)

    with Progress(transient=True) as progress:
        bar = progress.add_task("encounters", total=ENCOUNTERS * scenes_per_kind)
        scores = behaviour(session, scenes_per_kind, seed, lambda: progress.advance(bar))
    every = [result for some in results.values() for result in some]
    scores |= turn_taking(outcome for result in every for outcome in result.outcomes)
    scores |= not_addressed(results["chatter"])
    if minutes:
        scores |= silence(session(seed), minutes, seed)
        scores |= length(session(seed + 1), minutes, min(EDGE_MINUTES, minutes / 2), seed)
    return scores


def score_all(results: Results, judges: Judges) -> dict[str, Score]:
    """Every score of the model, by name."""
    every = [result for kind in results.values() for result in kind]
    scores: dict[str, Score] = {}
    for way, typed in (("voice", False), ("text", True)):
        named = outcomes_of(every, "name", typed)
        drawn = outcomes_of(every, "draw", typed)
        said = outcomes_of(every, "say", typed)
        scores |= {
            f"names_shown_asked_by_{way}": _asked(named, lambda o: o.names_it, GUESS),
            f"names_shown_aloud_asked_by_{way}": _asked(named, judges.hears, GUESS),
            f"draws_asked_by_{way}": _asked(drawn, judges.sees, GUESS),
            f"says_word_asked_by_{way}": _asked(said, judges.hears, GUESS),
        }
        if judges.spotter is not None:
            spots = _spots(judges.spotter)
            scores[f"says_word_asked_by_{way}_second_recognizer"] = _asked(said, spots, GUESS)
    for kind, (name, chance) in EXACT.items():
        asked = outcomes_of(every, kind)
        scores[f"{name}_in_exact_words"] = _asked(asked, lambda o: o.is_exact, chance)
        scores[f"{name}_in_exact_words_aloud"] = _asked(asked, judges.hears_exactly, chance)
    return scores | _silence(results) | _manners(every, judges)


def _asked(
    outcomes: list[Outcome], is_right: Callable[[Outcome], bool], chance: float | None = None
) -> Score:
    """The share of requests for which something holds."""
    return share(map(is_right, outcomes), chance, _scenes(outcomes))


def _scenes(outcomes: Iterable[Outcome]) -> list[int]:
    """Which scene each of them belongs to."""
    return [id(outcome.scene) for outcome in outcomes]


def _steps(
    results: list[SceneResult], false: Callable[[SceneResult], int], chance: float | None = None
) -> Score:
    """The share of quiet steps in which something came that should not."""
    wrong = [step < false(result) for result in results for step in range(result.quiet_steps)]
    scenes = [id(result.scene) for result in results for _ in range(result.quiet_steps)]
    return share(wrong, chance, scenes)


def _spots(spotter: WordSpotter) -> Callable[[Outcome], bool]:
    def spots(outcome: Outcome) -> bool:
        thing = outcome.reply.thing
        return thing is not None and spotter.spot(outcome.speech) == thing.name

    return spots


def _silence(results: Results) -> dict[str, Score]:
    """Whether it keeps out of what does not concern it."""
    every = [result for kind in results.values() for result in kind]
    unasked = results["chatter"] + results["quiet"]
    asked = [result for result in every if result.outcomes]
    # Guessing is to speak at random, as often as the script does.
    steps = sum(len(r.steps) for r in every)
    often = sum(r.scripted_steps for r in every) / steps if steps else 0.0
    lucky = float(np.mean([(1 - often) ** r.quiet_steps for r in unasked])) if unasked else None
    return {
        "silent_when_nothing_asked": share((r.false_output_steps == 0 for r in unasked), lucky),
        "false_speech_steps_nothing_asked": _steps(unasked, lambda r: r.false_speech_steps),
        "false_output_steps_nothing_asked": _steps(unasked, lambda r: r.false_output_steps, often),
        "false_speech_steps_between_requests": _steps(asked, lambda r: r.false_speech_steps),
        "scenes_with_false_speech_nothing_asked": share(r.false_speech_steps > 0 for r in unasked),
        "scenes_broken_nothing_asked": share(
            (r.false_output_steps > 0 for r in unasked), None if lucky is None else 1 - lucky
        ),
    }


def _manners(every: list[SceneResult], judges: Judges) -> dict[str, Score]:
    """When it answers, and whether it says what it writes."""
    outcomes = [outcome for result in every for outcome in result.outcomes]
    heard = [(o, judges.recognizer.transcribe(o.speech)) for o in outcomes]
    spoken = [(o, words) for o, words in heard if len(o.speech) and o.text]
    answered = [o for o in outcomes if o.delay_seconds is not None]
    by_voice, by_text = (
        [o for o in answered if o.reply.typed == typed and o.delay_steps] for typed in (False, True)
    )
    return {
        "answers_at_all": _asked(outcomes, lambda o: o.delay_seconds is not None),
        "talks_over_spoken_requests": _asked(
            [o for o in outcomes if not o.reply.typed], lambda o: o.talked_over
        ),
        "answer_delay_seconds": mean(
            [o.delay_seconds or 0.0 for o in answered], scenes=_scenes(answered)
        ),
        "answer_delay_median_steps_asked_by_voice": median(
            [o.delay_steps or 0 for o in by_voice], _scenes(by_voice)
        ),
        "answer_delay_median_steps_asked_by_text": median(
            [o.delay_steps or 0 for o in by_text], _scenes(by_text)
        ),
        "word_error_rate_of_speech": ratio(  # what is heard, against what it wrote
            [word_errors(o.text, words) for o, words in spoken],
            scenes=_scenes(o for o, _ in spoken),
        ),
        "word_error_rate_against_expected": ratio(  # a request without an answer is all errors
            [word_errors(o.reply.text, words) for o, words in heard], scenes=_scenes(outcomes)
        ),
    }


def as_speakers(
    model: Quintet, judges: Judges, scenes_per_kind: int, seed: int
) -> dict[str, Score]:
    """In the voices of others; so many scenes for each kind of speaker, on average. A voice that
    the model ships is heard as it ships it."""
    tokenizers, scenes = model.tokenizers, len(GROUPS) * scenes_per_kind
    shipped = {SPEAKERS[name]: codes for name, codes in model.voices.items() if name in SPEAKERS}

    def session(scene: Scene, number: int) -> Session:
        assert scene.speaker is not None
        codes = shipped.get(scene.speaker.voice)
        if codes is None:
            codes = tokenizers.encode_audio(scene.speaker.sound)
        return Session(model.model, tokenizers, seed=number, speaker=codes)

    with Progress(transient=True) as progress:
        bar = progress.add_task("speakers", total=scenes)
        return speaks_as(
            session, tokenizers, judges.recognizer, scenes, seed, lambda: progress.advance(bar)
        )


def voice(results: Results, judges: Judges, tokenizers: Tokenizers, seed: int) -> dict[str, Score]:
    """Whether it speaks in its own voice; the same of that voice through the codec.

    An answer counts once, however often it is given, and only if the recognizer spells it right.
    """
    played = [result for kind in results.values() for result in kind]
    every = [outcome for result in played for outcome in result.outcomes]
    right = {o.reply.text: o for o in every if len(o.speech) and judges.hears_exactly(o)}
    voices, scores = candidates(seed), dict[str, Score]()
    own = {text: outcome.speech for text, outcome in right.items()}
    coded = {text: through_codec(tokenizers, o.reply.speech) for text, o in right.items()}
    for name, sounds in (("", own), ("_after_codec", coded)):
        found = [nearest(sound, text, voices) for text, sound in sounds.items()]
        scores[f"own_voice_is_nearest{name}"] = share((i == 0 for i, _ in found), 1 / len(voices))
        scores[f"decibels_from_own_voice{name}"] = mean([distance for _, distance in found])
    return scores


def print_scores(report: dict[str, Any]) -> None:
    """The scores as a table in the terminal."""
    table = Table("score", "value", "95 % interval", "n", "chance", title=report["model"])
    for name, score in report["scores"].items():
        if score["value"] is None:
            table.add_row(name, "-", "", "0", "")
            continue
        chance = "" if score["chance"] is None else f"{score['chance']:.3f}"
        interval = f"{score['low']:.3f} - {score['high']:.3f}"
        table.add_row(name, f"{score['value']:.3f}", interval, str(score["n"]), chance)
    Console().print(table)
