"""Turn mode's scores: what right, wrong and no answers to the messages are worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from quintet.config import SAMPLE_RATE
from quintet.data.documents import TRANSCRIBE
from quintet.data.world.grammar import Request
from quintet.data.world.things import THINGS, Thing
from quintet.evals import messages
from quintet.evals.messages import in_turns
from quintet.live.turns import TurnReply

COUNT = 6


class Scripted:
    """Answers what it is given by `words`, and keeps what that was."""

    def __init__(self, line: str, thing: str, number: str = "") -> None:
        self.line, self.thing, self.number = line, thing, number
        self.given = list[list[object]]()

    def chat(self, said: Sequence[dict[str, object]], seed: int = 0) -> TurnReply:
        parts = said[0]["content"]
        assert isinstance(parts, list) and said[0]["role"] == "user" and len(said) == 1
        self.given.append(parts)
        words = next((part for part in parts if isinstance(part, str)), "draw what was said")
        drawn = [np.zeros((2, 2, 3), np.uint8)] if words.startswith("draw ") else []
        text = self.line if words in TRANSCRIBE else f"This is {self.thing}."
        if words == "count the cats.":
            (picture,) = (part for part in parts if isinstance(part, np.ndarray))
            assert (picture == 3).all()
            text = self.number
        return TurnReply(text, drawn, np.zeros(0, np.float32))


def _three_dots(thing: Thing, count: int, rng: object, split: str) -> tuple[np.ndarray, None]:
    """A picture that tells what was asked for."""
    assert (thing, count, split) == (THINGS[0], 3, "test")
    return np.full((8, 8, 3), count, np.uint8), None


@pytest.fixture(autouse=True)
def _one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    said = type("Said", (), {"text": "draw a cat."})
    monkeypatch.setattr(messages, "request", lambda kind, rng: said)
    monkeypatch.setattr(messages, "THINGS", THINGS[:1])
    three = Request("how_many", "count the cats.", "Three cats.", THINGS[0], 3)
    monkeypatch.setattr(messages, "how_many", lambda rng: three)
    monkeypatch.setattr(messages, "picture_of_several", _three_dots)


@pytest.mark.parametrize(
    ("line", "thing", "number", "values"),
    [
        ("draw a cat.", THINGS[0].name, "Three dogs.", (0.0, 1.0, 1.0, 1.0, 1.0)),
        ("draw a hat.", "nothing", "Four cats.", (1 / 3, 0.0, 0.0, 0.0, 0.0)),
        ("", f"{THINGS[0].name} or {THINGS[1].name}", "Three or four.", (1.0, 0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_answers_are_counted(line: str, thing: str, number: str, values: tuple[float, ...]) -> None:
    scores = in_turns(Scripted(line, thing, number), lambda picture: thing, COUNT)
    assert tuple(score.value for score in scores.values()) == pytest.approx(values)
    assert {score.n for score in scores.values()} == {COUNT}


def test_parts_come_in_any_order_and_silence_of_any_length_stands_around_speech() -> None:
    model = Scripted("", "")
    in_turns(model, lambda picture: "", COUNT)
    pairs = [parts for parts in model.given if len(parts) == 2]
    assert len(pairs) == 3 * COUNT and len(model.given) == 5 * COUNT
    assert {isinstance(parts[0], str) for parts in pairs} == {False, True}
    heard = [part for parts in model.given for part in parts if getattr(part, "ndim", 0) == 1]
    quiet = [int(np.flatnonzero(part)[0]) for part in heard if isinstance(part, np.ndarray)]
    assert len(quiet) == 2 * COUNT and max(quiet) < messages.LONGEST_SILENCE * SAMPLE_RATE
    # As many begin with a word as do not, but for chance.
    assert 0 < sum(start < SAMPLE_RATE // 100 for start in quiet) < 2 * COUNT


def test_a_model_that_gives_nothing_has_every_word_wrong() -> None:
    class Silent:
        def chat(self, said: Sequence[dict[str, object]], seed: int = 0) -> TurnReply:
            return TurnReply("", [], np.zeros(0, np.float32))

    values = [score.value for score in in_turns(Silent(), lambda picture: "", 2).values()]
    assert values == [1.0, 0.0, 0.0, 0.0, 0.0]
