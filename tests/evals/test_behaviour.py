"""Behaviour in time: who knows what is right gets everything, who never stops or starts not."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import needs_world
from players import Babbler, Player

from quintet.config import STEP_SAMPLES
from quintet.data.world.encounters import make_encounter
from quintet.data.world.scenes import Scene, make_scene
from quintet.evals import behaviour as scored
from quintet.evals.behaviour import Played, play
from quintet.evals.live_scores import run_scene
from quintet.evals.scores import Score

pytestmark = needs_world
KINDS = ("interruption", "backchannel", "hesitation", "watch", "dictation")


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return {
        kind: [make_encounter(seed, "test", (kind,), max_steps=64) for seed in range(5)]
        for kind in KINDS
    }


def _scores(scenes: dict[str, list[Scene]], player: type[Player], late: int) -> dict[str, float]:
    played: dict[str, list[Played]] = {
        kind: [play(player(scene, late), scene) for scene in some] for kind, some in scenes.items()
    }
    scores: dict[str, Score] = {
        **scored.pause_handling(played["hesitation"]),
        **scored.user_interruption(played["interruption"]),
        **scored.user_backchannel(played["backchannel"]),
        **scored.watching(played["watch"]),
        "transcription": scored.transcription(played["dictation"]),
    }
    return {name: score.value for name, score in scores.items() if score.value is not None}


def test_who_does_what_the_script_says_gets_everything(scenes: dict[str, list[Scene]]) -> None:
    scores = _scores(scenes, Player, 0)
    for name in ("pause_handling_answers_afterwards", "user_interruption_obeyed",
                 "user_backchannel_goes_on", "watching_told"):  # fmt: skip
        assert scores[name] == 1, name
    for name in ("pause_handling_take_over_rate", "watching_false_alarms", "transcription"):
        assert scores[name] == 0, name
    assert scores["user_interruption_seconds_to_silence"] <= 0.5
    assert scores["watching_seconds_to_tell"] == 0.25


def test_who_is_too_early_or_too_late_does_not(scenes: dict[str, list[Scene]]) -> None:
    early, late = _scores(scenes, Player, -8), _scores(scenes, Player, 8)
    assert early["pause_handling_take_over_rate"] > 0.3
    assert early["transcription"] > 0.3
    assert late["watching_told"] == 0 == late["pause_handling_answers_afterwards"]
    assert late["user_interruption_seconds_to_silence"] > 0.5


def test_who_never_stops_is_told_so(scenes: dict[str, list[Scene]]) -> None:
    scores = _scores(scenes, Babbler, 0)
    assert scores["pause_handling_take_over_rate"] == 1 == scores["user_backchannel_goes_on"]
    assert scores["user_interruption_obeyed"] == 0 == scores["watching_told"]
    assert scores["watching_false_alarms"] == 1 and scores["transcription"] > 1


def test_noise_is_ten_decibels_below_the_voice(scenes: dict[str, list[Scene]]) -> None:
    scene = scenes["dictation"][0]
    noise = scored.with_noise(scene, 0).microphone - scene.microphone
    voice = np.concatenate([scene.microphone[o.start_sample : o.end_sample] for o in scene.lines])
    ratio = 10 * np.log10(np.mean(voice**2) / np.mean(noise**2))
    assert ratio == pytest.approx(10, abs=0.3)


def test_talk_that_is_not_for_it() -> None:
    chatter = [make_scene(seed, "test", ("chatter",)) for seed in range(6)]
    quiet = scored.not_addressed(run_scene(Player(scene), scene) for scene in chatter)
    loud = scored.not_addressed(run_scene(Babbler(scene), scene) for scene in chatter)
    assert {score.value for score in quiet.values()} == {0}
    assert {score.value for score in loud.values()} == {1}


def test_a_long_silence_and_a_long_session() -> None:
    nobody = make_scene(1, "test", ())
    assert scored.silence(Player(nobody), 0.05)["silence_broken_steps"].value == 0
    assert scored.silence(Babbler(nobody), 0.05)["silence_broken_steps"].value == 1
    heard: list[int] = []

    class Listener(Player):
        def step(self, audio, image=None, text=None):  # type: ignore[no-untyped-def]
            heard.append(len(audio))
            return super().step(audio, image, text)

    scores = scored.length(Listener(nobody), minutes=0.6, at_the_ends=0.3)
    assert len(heard) >= 0.6 * 240 and set(heard) == {STEP_SAMPLES}
    assert {score.value for score in scores.values()} <= {0, None}
