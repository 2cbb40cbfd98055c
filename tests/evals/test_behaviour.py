"""Behaviour in time: who knows what is right gets everything, who never stops or starts not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import needs_world
from players import Babbler, Deaf, Meddler, Player, Reader, Silent, Slow, Startled

from quintet.config import STEP_SAMPLES
from quintet.data.world.encounters import make_encounter
from quintet.data.world.scenes import Scene, make_scene
from quintet.data.world.seeds import SEEDS
from quintet.evals import behaviour as scored
from quintet.evals.behaviour import Played, play
from quintet.evals.live_scores import AFTERWARDS, run_scene
from quintet.evals.scores import Score
from quintet.live.session import StepOutput

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
        "speaks": scored.speaks_into_dictation(played["dictation"]),
    }
    return {name: score.value for name, score in scores.items() if score.value is not None}


def test_who_does_what_the_script_says_gets_everything(scenes: dict[str, list[Scene]]) -> None:
    scores = _scores(scenes, Player, 0)
    for name in ("pause_handling_answers_afterwards", "user_interruption_finds_it_speaking",
                 "user_interruption_obeyed", "user_interruption_take_over_rate",
                 "user_backchannel_goes_on", "watching_told"):  # fmt: skip
        assert scores[name] == 1, name
    for name in ("pause_handling_take_over_rate", "watching_false_alarms", "transcription",
                 "speaks"):  # fmt: skip
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
    assert scores["pause_handling_answers_afterwards"] == 0 != scores["speaks"]
    assert scores["user_interruption_take_over_rate"] == 0
    assert scores["watching_false_alarms"] == 1 and scores["transcription"] > 1


def test_silence_is_right_nowhere_but_where_nothing_is_asked(
    scenes: dict[str, list[Scene]],
) -> None:
    scores = _scores(scenes, Silent, 0)
    assert not {"user_interruption_obeyed", "user_backchannel_goes_on"} & set(scores)
    assert scores.pop("transcription") == 1 and set(scores.values()) == {0}


def test_who_does_not_listen_while_speaking_and_who_listens_to_everything(
    scenes: dict[str, list[Scene]],
) -> None:
    for player in (Deaf, Slow):
        assert _scores(scenes, player, 0)["user_interruption_obeyed"] == 0
    startled = _scores(scenes, Startled, 0)
    assert startled["user_backchannel_goes_on"] == 0
    assert startled["user_interruption_seconds_to_silence"] < 0.25


def test_an_answer_may_end_when_it_is_at_its_end() -> None:
    late = make_encounter(57, "test", ("backchannel",), max_steps=64)
    (moment,), reply = late.moments, late.replies[0]
    assert moment.end_sample // STEP_SAMPLES == reply.step + reply.num_steps - 1
    goes_on = scored.user_backchannel([play(Player(late), late)])["user_backchannel_goes_on"]
    assert goes_on.value == 1 == goes_on.n


def test_dictation_that_is_read_out_is_spoken_into(scenes: dict[str, list[Scene]]) -> None:
    assert _scores(scenes, Reader, 0)["speaks"] == 1


def test_noise_is_ten_decibels_below_the_voice(scenes: dict[str, list[Scene]]) -> None:
    scene = scenes["dictation"][0]
    noise = scored.with_noise(scene, 0).microphone - scene.microphone
    voice = np.concatenate([scene.microphone[o.start_sample : o.end_sample] for o in scene.lines])
    ratio = 10 * np.log10(np.mean(voice**2) / np.mean(noise**2))
    nobody = make_scene(1, "test", ())
    assert scored.with_noise(nobody, 0) is nobody  # there is no level to be below
    assert ratio == pytest.approx(10, abs=0.3)


def test_talk_that_is_not_for_it() -> None:
    chatter = [make_scene(seed, "test", ("chatter",)) for seed in range(6)]
    quiet = scored.not_addressed(run_scene(Player(scene), scene) for scene in chatter)
    loud = scored.not_addressed(run_scene(Babbler(scene), scene) for scene in chatter)
    over = scored.not_addressed(run_scene(Meddler(scene), scene) for scene in chatter)
    assert {score.value for score in quiet.values()} == {0}
    assert {score.value for score in (*loud.values(), *over.values())} == {1}


def test_a_long_silence_and_a_long_session() -> None:
    nobody = make_scene(1, "test", ())
    assert scored.silence(Player(nobody), 0.05)["silence_broken_steps"].value == 0
    assert scored.silence(Babbler(nobody), 0.05)["silence_broken_steps"].value == 1
    heard: list[int] = []

    class Listener(Player):
        def step(self, audio, image=None, text=None):  # type: ignore[no-untyped-def]
            heard.append(len(audio))
            return super().step(audio, image, text)

    scored.length(Listener(nobody), minutes=0.6, at_the_ends=0.3)
    assert len(heard) >= 0.6 * 240 and set(heard) == {STEP_SAMPLES}


class Tiring:
    """Knows every answer of a session of many scenes, and gives those of the first steps."""

    def __init__(self, gives: int) -> None:
        self.gives, self.now, self.index, self.left = gives, 0, 0, 0

    def step(
        self, audio: np.ndarray, image: np.ndarray | None = None, text: str | None = None
    ) -> StepOutput:
        if not self.left:
            scene = make_scene(SEEDS["eval_long_session"][self.index], "test")
            self.left, self.index = scene.num_steps + AFTERWARDS, self.index + 1
            self.player = Player(scene) if self.now < self.gives else Silent(scene)
        self.now, self.left = self.now + 1, self.left - 1
        return replace(self.player.step(audio, image, text), step=self.now)


def test_who_tires_is_worse_in_the_last_minutes() -> None:
    first, last = scored.length(Tiring(240), minutes=1.5, at_the_ends=0.4).values()
    assert first.value == 1 and last.value == 0 and first.n and last.n
    first, last = scored.length(Tiring(1 << 30), minutes=1.5, at_the_ends=0.4).values()
    assert first.value == last.value == 1


def test_turns_that_are_taken() -> None:
    asked = [make_scene(seed, "test", ("draw", "say")) for seed in range(4)]
    told = [
        scored.turn_taking(o for s in asked for o in run_scene(Player(s, late), s).outcomes)
        for late in (0, 6)
    ]
    assert [scores["turn_taking_take_over_rate"].value for scores in told] == [1, 0]
    soon = told[0]["turn_taking_latency_seconds"].value
    assert soon is not None and 1 / 12 <= soon <= 1 / 12 + 0.25
