"""The report card: every score of a model on held-out scenes, as JSON and as a page.

Voices, backgrounds and picture sizes are those that training never saw. What is said is judged
by a recognizer, what is drawn by a classifier; how good these are themselves, on the real thing
and on the real thing after tokenization, stands beside the scores.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from quintet.data.world.pictures import render_picture
from quintet.data.world.scenes import make_scene
from quintet.data.world.things import THINGS
from quintet.evals.live_scores import Outcome, SceneResult, mentions, outcomes_of, run_scene
from quintet.evals.page import write_page
from quintet.evals.picture_judge import PictureJudge
from quintet.evals.recognizer import Recognizer, word_errors
from quintet.evals.scores import Score, mean, ratio, share, share_of
from quintet.evals.word_spotter import WordSpotter
from quintet.live import Quintet, Sampling
from quintet.tokenizers.bundle import Tokenizers

# Kinds of scene, by what is asked in them; nothing at all is said in a quiet one.
SCENES: dict[str, tuple[str, ...]] = {
    "name": ("name",), "draw": ("draw",), "say": ("say",), "repeat": ("repeat",),
    "count": ("count",), "greet": ("greet",), "chatter": ("chatter",), "quiet": (),
}  # fmt: skip
FIRST_SEED = 70_000_000  # held-out scenes of training's own evaluation have other seeds
SEEDS_EACH = 100_000  # for the scenes of one kind
GUESS = 1 / len(THINGS)  # what naming a random thing would get
CEILING_PICTURES = 256

Results = dict[str, list[SceneResult]]


def evaluate(model: Quintet, out: Path, scenes_per_kind: int = 40, seed: int = 0) -> dict[str, Any]:
    """Score `model`, write report.json and report.html into `out`, return what the first holds.

    Raises:
        UserError: espeak-ng or the font, which the world is made with, is not installed.
    """
    judges = Judges()
    results = play(model, scenes_per_kind, seed)
    scores = {name: score.to_dict() for name, score in score_all(results, judges).items()}
    ceilings = judge_ceilings(results, judges, model.tokenizers, seed)
    scores |= {name: score.to_dict() for name, score in ceilings.items()}
    report = {
        "model": model.config.name,
        "scenes_per_kind": scenes_per_kind,
        "seed": seed,
        "second_recognizer": judges.spotter is not None,
        "scores": scores,
    }
    partial = out / "report.json.partial"
    partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    partial.replace(out / "report.json")
    write_page(out / "report.html", report, results, judges.recognizer, judges.pictures)
    return report


class Judges:
    """Who says what was heard and seen; none of them was trained on anything a model made."""

    def __init__(self) -> None:
        self.recognizer = Recognizer.load()
        self.pictures = PictureJudge.load()
        self.spotter = WordSpotter.load()  # None where its package is not installed

    def hears(self, outcome: Outcome) -> bool:
        """The thing's name is in what the recognizer spells."""
        thing, said = outcome.reply.thing, outcome.speech
        return thing is not None and mentions(self.recognizer.transcribe(said), thing.name)

    def sees(self, outcome: Outcome) -> bool:
        """The first drawing looks most like the thing that was asked for."""
        thing = outcome.reply.thing
        return bool(
            thing and outcome.pictures and self.pictures.name(outcome.pictures[0]) == thing.name
        )


def play(model: Quintet, scenes_per_kind: int, seed: int) -> Results:
    """Every held-out scene through a session of its own."""
    results: Results = {}
    with Progress(transient=True) as progress:
        bar = progress.add_task("scenes", total=len(SCENES) * scenes_per_kind)
        for number, (kind, asked) in enumerate(SCENES.items()):
            first = FIRST_SEED + (seed * len(SCENES) + number) * SEEDS_EACH
            results[kind] = []
            for index in range(scenes_per_kind):
                scene = make_scene(first + index, "test", kinds=asked)
                session = model.session(Sampling(), seed=index)
                results[kind].append(run_scene(session, scene))
                progress.advance(bar)
    return results


def score_all(results: Results, judges: Judges) -> dict[str, Score]:
    """Every score of the model, by name."""
    every = [result for kind in results.values() for result in kind]
    scores: dict[str, Score] = {}
    for way, typed in (("voice", False), ("text", True)):
        named = outcomes_of(every, "name", typed)
        drawn = outcomes_of(every, "draw", typed)
        said = outcomes_of(every, "say", typed)
        scores |= {
            f"names_shown_asked_by_{way}": share((o.names_it for o in named), GUESS),
            f"names_shown_aloud_asked_by_{way}": share(map(judges.hears, named), GUESS),
            f"draws_asked_by_{way}": share(map(judges.sees, drawn), GUESS),
            f"says_word_asked_by_{way}": share(map(judges.hears, said), GUESS),
        }
        if judges.spotter is not None:
            spots = _spots(judges.spotter)
            scores[f"says_word_asked_by_{way}_second_recognizer"] = share(map(spots, said), GUESS)
    for kind, name in (("repeat", "repeats"), ("count", "counts"), ("greet", "greets")):
        asked = outcomes_of(every, kind)
        scores[f"{name}_in_exact_words"] = share(o.is_exact for o in asked)
    return scores | _manners(results, judges)


def _spots(spotter: WordSpotter) -> Callable[[Outcome], bool]:
    def spots(outcome: Outcome) -> bool:
        thing = outcome.reply.thing
        return thing is not None and spotter.spot(outcome.speech) == thing.name

    return spots


def _manners(results: Results, judges: Judges) -> dict[str, Score]:
    """When it answers, when it keeps silent, and whether it says what it writes."""
    every = [result for kind in results.values() for result in kind]
    outcomes = [outcome for result in every for outcome in result.outcomes]
    unasked = results["chatter"] + results["quiet"]
    spoken = [o for o in outcomes if len(o.speech) and o.text]
    return {
        "answers_at_all": share(o.delay_seconds is not None for o in outcomes),
        "false_speech_steps_nothing_asked": share_of(
            sum(r.false_speech_steps for r in unasked), sum(r.quiet_steps for r in unasked)
        ),
        "false_output_steps_nothing_asked": share_of(
            sum(r.false_output_steps for r in unasked), sum(r.quiet_steps for r in unasked)
        ),
        "false_speech_steps_between_requests": share_of(
            sum(r.false_speech_steps for r in every), sum(r.quiet_steps for r in every)
        ),
        "scenes_broken_nothing_asked": share(r.false_output_steps > 0 for r in unasked),
        "answer_delay_seconds": mean(
            [o.delay_seconds for o in outcomes if o.delay_seconds is not None]
        ),
        "word_error_rate_of_speech": ratio(
            [word_errors(o.text, judges.recognizer.transcribe(o.speech)) for o in spoken]
        ),
    }


def judge_ceilings(
    results: Results, judges: Judges, tokenizers: Tokenizers, seed: int
) -> dict[str, Score]:
    """The judges on the real thing, and on the real thing encoded and decoded."""
    replies = [o.reply for r in results["say"] for o in r.outcomes]
    real, coded = [], []
    for reply in replies:
        codes_TQ = tokenizers.encode_audio(reply.speech)
        with torch.no_grad():
            made_BS, _ = tokenizers.audio.decode(torch.from_numpy(codes_TQ).long()[None])
        real.append(judges.recognizer.transcribe(reply.speech))
        coded.append(judges.recognizer.transcribe(made_BS[0].numpy()))
    names = [reply.thing.name for reply in replies if reply.thing]
    scores = {
        "judge_hears_real_word": share(map(mentions, real, names), GUESS),
        "judge_hears_word_after_codec": share(map(mentions, coded, names), GUESS),
    }
    if judges.spotter is not None:
        heard = [judges.spotter.spot(reply.speech) for reply in replies]
        scores["second_judge_hears_real_word"] = share(
            (a == b for a, b in zip(heard, names, strict=True)), GUESS
        )
    return scores | _picture_ceilings(judges, tokenizers, seed)


def _picture_ceilings(judges: Judges, tokenizers: Tokenizers, seed: int) -> dict[str, Score]:
    rng = np.random.default_rng((seed, 30))
    size = tokenizers.image.config.size
    real, coded = [], []
    for index in range(CEILING_PICTURES):
        thing = THINGS[index % len(THINGS)]
        picture = render_picture(thing, rng, "test", size)
        with torch.no_grad():
            made_CHW = tokenizers.image.preview(tokenizers.encode_image(picture).tolist())
        made = (made_CHW.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        real.append(judges.pictures.name(picture) == thing.name)
        coded.append(judges.pictures.name(made) == thing.name)
    return {
        "judge_sees_real_picture": share(real, GUESS),
        "judge_sees_picture_after_tokenizer": share(coded, GUESS),
    }


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
