"""The whole report card: a perfect player, a silent one, one that never stops, and any preset."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import needs_world
from players import Babbler, Player, Silent

from quintet.data.world.scenes import Scene, make_scene
from quintet.evals.behaviour import KINDS
from quintet.evals.judging import Judges
from quintet.evals.live_scores import SceneResult, run_scene
from quintet.evals.report import SCENES, digest, evaluate, score_all, voice
from quintet.evals.scores import Score
from quintet.live.pretrained import Quintet

Results = dict[str, list[SceneResult]]


pytestmark = needs_world


@pytest.fixture(scope="module")
def judges() -> Judges:
    return Judges()


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return {
        kind: [make_scene(900 + index, "test", asked) for index in range(4)]
        for kind, asked in SCENES.items()
    }


def _play(scenes: dict[str, list[Scene]], late: int = 0, player: type[Player] = Player) -> Results:
    return {
        kind: [run_scene(player(scene, late), scene) for scene in some]
        for kind, some in scenes.items()
    }  # fmt: skip


def _values(scores: dict[str, Score]) -> dict[str, float]:
    return {name: score.value for name, score in scores.items() if score.value is not None}


def test_a_perfect_player_gets_everything(scenes: dict[str, list[Scene]], judges: Judges) -> None:
    scores = _values(score_all(_play(scenes), judges))
    for name in ("names_shown_asked_by_voice", "answers_at_all", "repeats_in_exact_words",
                 "counts_in_exact_words", "greets_in_exact_words",
                 "tells_yes_from_no_in_exact_words"):  # fmt: skip
        assert scores[name] == 1, name
    # What ears and eyes judge is as good as they are; see the ceilings.
    for name in ("names_shown_aloud_asked_by_voice", "draws_asked_by_voice",
                 "says_word_asked_by_voice"):  # fmt: skip
        assert scores[name] > 0.8, name
    for name in ("false_output_steps_nothing_asked", "scenes_broken_nothing_asked",
                 "false_speech_steps_between_requests", "talks_over_spoken_requests",
                 "scenes_with_false_speech_nothing_asked"):  # fmt: skip
        assert scores[name] == 0, name
    assert scores["silent_when_nothing_asked"] == 1
    assert scores["answer_delay_median_steps_asked_by_voice"] == 1
    assert scores["answer_delay_median_steps_asked_by_text"] == 1
    assert scores["word_error_rate_against_expected"] < 0.2


def test_silence_earns_nothing_and_breaks_nothing(
    scenes: dict[str, list[Scene]], judges: Judges
) -> None:
    nobody = make_scene(1, "test", ())
    results = {
        kind: [run_scene(Player(nobody), scene) for scene in some] for kind, some in scenes.items()
    }
    scores = _values(score_all(results, judges))
    earned = [name for name in scores if name.startswith(("names", "draws", "says", "repeats"))]
    assert len(earned) > 6 and not any(scores[name] for name in earned)
    assert scores["answers_at_all"] == 0 == scores["false_output_steps_nothing_asked"]
    assert scores["word_error_rate_against_expected"] == 1
    assert "answer_delay_seconds" not in scores  # nobody measured it


def test_whoever_never_stops_fails(scenes: dict[str, list[Scene]], judges: Judges) -> None:
    scores = _values(score_all(_play(scenes, player=Babbler), judges))
    assert scores["false_speech_steps_nothing_asked"] == 1 == scores["scenes_broken_nothing_asked"]
    assert scores["talks_over_spoken_requests"] == 1
    # Naming many things is not naming the one that is shown.
    assert scores["names_shown_asked_by_voice"] == 0 == scores["says_word_asked_by_voice"]


def test_guessing_speaks_as_often_as_the_script(
    scenes: dict[str, list[Scene]], judges: Judges
) -> None:
    """The stated chances are what one gets who guesses so."""
    results = _play(scenes)
    scores = score_all(results, judges)
    assert scores["counts_in_exact_words"].chance == 1 / 9
    assert scores["greets_in_exact_words"].chance == 1 / 7
    assert scores["tells_yes_from_no_in_exact_words"].chance == 1 / 2
    every = [result for some in results.values() for result in some]
    often = sum(r.scripted_steps for r in every) / sum(len(r.steps) for r in every)
    rng, unasked = np.random.default_rng(0), results["chatter"] + results["quiet"]
    silent = [not (rng.random(r.quiet_steps) < often).any() for r in unasked for _ in range(4_000)]
    score = scores["silent_when_nothing_asked"]
    assert score.chance == pytest.approx(np.mean(silent), abs=0.01) and 0 < often < 0.5
    assert score.n == len(unasked) and 0 < score.low < score.value == 1


def test_false_speech_between_requests_is_not_diluted(
    scenes: dict[str, list[Scene]], judges: Judges
) -> None:
    results = _play(scenes, late=-5)
    before = score_all(results, judges)["false_speech_steps_between_requests"]
    quieter = results | {"chatter": results["chatter"] * 5, "quiet": results["quiet"] * 5}
    assert score_all(quieter, judges)["false_speech_steps_between_requests"] == before
    assert before.value and before.value > 0.1


def test_answers_too_early_are_not_answers(scenes: dict[str, list[Scene]], judges: Judges) -> None:
    scores = _values(score_all(_play(scenes, late=-5), judges))
    assert scores["talks_over_spoken_requests"] > 0.8
    assert scores["names_shown_asked_by_voice"] == 0
    assert scores["false_speech_steps_between_requests"] > 0.1


def test_the_digest_is_of_what_is_given_and_what_is_right() -> None:
    scenes = [make_scene(seed, "test", ("name",)) for seed in range(3)]
    typed = next(scene for scene in scenes if scene.typed)
    shown = next(scene for scene in scenes if scene.shown)
    dark = tuple(replace(one, picture=255 - one.picture) for one in shown.shown)
    hello = tuple(replace(one, text="hello.") for one in typed.typed)
    others = [
        replace(typed, microphone=typed.microphone * 2),
        replace(typed, typed=hello),
        replace(shown, shown=dark),
        *(
            replace(typed, replies=tuple(replace(one, **other) for one in typed.replies))
            for other in ({"text": "Hello."}, {"step": 1}, {"until_step": 9})
        ),
    ]
    every = [scenes, scenes[::-1], scenes[:2], [typed], [shown], *([other] for other in others)]
    digests = [digest(some) for some in every]
    assert digests == [digest(some) for some in every] and len(set(digests)) == len(every)


def test_a_report_tells_which_scenes_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each kind, of those in which something is counted, and of each kind of encounter."""
    for part in ("score_all", "in_time", "as_speakers", "bits_per_byte", "in_turns", "voice",
                 "judge_ceilings", "write_page"):  # fmt: skip
        monkeypatch.setattr(f"quintet.evals.report.{part}", lambda *_: {})
    judges: Any = SimpleNamespace(
        pictures=SimpleNamespace(name=None), recognizer=None, spotter=None
    )
    monkeypatch.setattr("quintet.evals.report.Judges", lambda: judges)
    tested: list[Scene] = []

    def tell(scenes: Iterable[Scene]) -> str:
        tested[:] = scenes
        return digest(tested)

    monkeypatch.setattr("quintet.evals.report.digest", tell)
    nobody = make_scene(1, "test", ())
    model: Any = SimpleNamespace(
        session=lambda *_, **__: Silent(nobody),
        config=SimpleNamespace(name="silent"),
        tokenizers=None,
    )
    told, seeds = [], []
    for seed in (0, 0, 1):
        told.append(evaluate(model, tmp_path, scenes_per_kind=1, seed=seed)["scenes_digest"])
        asked = [{reply.kind for reply in scene.replies} for scene in tested[: len(SCENES) + 1]]
        moments = [{moment.kind for moment in scene.moments} for scene in tested[len(asked) :]]
        kinds = [set(kinds) - {"chatter"} for kinds in SCENES.values()]
        assert asked == [*kinds, {"how_many"}] and moments == [{kind} for kind in KINDS]
        assert told[-1] == digest(tested)
        seeds.append({scene.seed for scene in tested})
    assert told[0] == told[1] != told[2] and seeds[0].isdisjoint(seeds[2])


def test_any_preset_gets_a_report(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrained system of other sizes: the report is whole, the same twice, and no good."""
    some = {kind: SCENES[kind] for kind in ("say", "repeat", "chatter", "quiet")}
    monkeypatch.setattr("quintet.evals.report.SCENES", some)
    monkeypatch.setattr("quintet.evals.judging.CEILING_PICTURES", 16)
    model = Quintet.from_pretrained(model_folder)
    report = evaluate(model, tmp_path / "first", scenes_per_kind=1, seed=3, minutes=0.1)
    again = evaluate(model, tmp_path / "second", scenes_per_kind=1, seed=3, minutes=0.1)
    assert report == again == json.loads((tmp_path / "first" / "report.json").read_text())
    for name, score in report["scores"].items():
        assert set(score) == {"value", "low", "high", "n", "chance"}, name
        if score["value"] is not None:
            assert score["low"] <= score["value"] <= score["high"], name
    assert report["scores"]["repeats_in_exact_words"]["value"] in (0, None)
    counted = ["counts_shown_asked_by_voice", "counts_shown_asked_by_text"]
    assert sum(report["scores"][name]["n"] for name in counted) > 0
    assert report["scores"]["messages_count_what_is_shown"]["n"] > 0
    page = (tmp_path / "first" / "report.html").read_text()
    assert "data:audio/" in page and "http" not in page and "<h2>how_many</h2>" in page


def test_a_player_in_the_assistant_s_voice_is_known_by_it(
    scenes: dict[str, list[Scene]], judges: Judges, model_folder: Path
) -> None:
    few = {kind: some[:2] for kind, some in scenes.items()}
    tokenizers = Quintet.from_pretrained(model_folder).tokenizers
    scores = voice(_play(few), judges, tokenizers, seed=0)
    assert scores["own_voice_is_nearest"].value == 1
    assert scores["own_voice_is_nearest"].chance == 1 / 8
    # What is played ends with a step, so a little silence is added.
    assert (scores["decibels_from_own_voice"].value or 0) < 0.5
    assert (scores["decibels_from_own_voice_after_codec"].value or 0) > 1
    nobody = {kind: [] for kind in few}
    assert voice(nobody, judges, tokenizers, seed=0)["own_voice_is_nearest"].value is None
