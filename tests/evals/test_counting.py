"""How many are shown: what right answers, some, none, and two numbers at once are worth."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import needs_world
from players import Player, Silent

from quintet.data.world.scenes import Scene
from quintet.data.world.sights import make_sights
from quintet.evals import counting
from quintet.evals.counting import numbers_in, play_counted
from quintet.live.session import StepOutput

pytestmark = needs_world
SCENES = 6


class Hedging(Player):
    """Says two numbers where one is asked for."""

    def step(self, *given: object) -> StepOutput:  # type: ignore[override]
        out = super().step(*given)  # type: ignore[arg-type]
        return replace(out, text=f"{out.text} One or two." if out.text else "")


class Reading(Player):
    """Answers what is typed, and nothing that is said."""

    def __init__(self, scene: Scene, late: int = 0) -> None:
        typed = tuple(reply for reply in scene.replies if reply.typed)
        super().__init__(replace(scene, replies=typed), late)


@pytest.mark.parametrize(
    ("player", "voice", "text"),
    [(Player, 1.0, 1.0), (Silent, 0.0, 0.0), (Hedging, 0.0, 0.0), (Reading, 0.0, 1.0)],
)
def test_one_right_number_counts(
    player: type[Player], voice: float, text: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[Scene] = []

    def make(*given: object) -> Scene:
        played.append(make_sights(*given))  # type: ignore[arg-type]
        return played[-1]

    monkeypatch.setattr(counting, "make_sights", make)
    scores = counting.counting(play_counted(lambda _: player(played[-1]), SCENES))
    assert {name: score.value for name, score in scores.items()} == {
        "counts_shown_asked_by_voice": voice, "counts_shown_asked_by_text": text,
    }  # fmt: skip
    for score in scores.values():
        assert score.chance == 0.2 and score.n >= SCENES / 2
    assert {scene.split for scene in played} == {"test"}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("Three cats.", {"three"}), ("One or two", {"one", "two"}), ("This is a bone.", set())],
)
def test_numbers_are_words(text: str, numbers: set[str]) -> None:
    assert numbers_in(text) == numbers
