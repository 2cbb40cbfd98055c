"""The benchmark of writing counts what came of each order."""

from __future__ import annotations

import pytest
from conftest import needs_world

from benchmarks.writing import SEED, scores_of, write
from quintet.config import UserError
from quintet.data.world.writers import ModelWriter, drawn_things

PLAIN = "user: hi\nassistant: Hello.\n"
WRONG = "[show cat]\nuser: what is this?\nassistant: This is a dog.\n"
FENCED = f"```\n{PLAIN}```\n"


@needs_world
def test_what_came_of_orders_is_counted() -> None:
    wanting = next(seed for seed in range(SEED, SEED + 99) if len(drawn_things(seed)) == 2)
    thing = drawn_things(wanting)[1]
    showing = f"[show {thing}]\nuser: what is this?\nassistant: Hm.\n"
    long = "user: hi\n[pause 30]\n" * 9 + "assistant: Hello.\n"
    plain = next(seed for seed in range(SEED, SEED + 99) if not drawn_things(seed))
    written = [
        write(ModelWriter(lambda seed, text=text: text), seed)  # type: ignore[misc]
        for text, seed in ((FENCED, plain), (WRONG, plain), (showing, wanting), (long, plain))
    ]
    with pytest.raises(UserError):
        write(ModelWriter(lambda seed: "I cannot."), plain)
    known = {written[0].script.write()}
    scores = scores_of(written, 5, known, {"hi", "what is this?"})
    assert {what: (score.value, score.n) for what, score in scores.items()} == {
        "a script at once": (4 / 5, 5),
        "of these without a repair": (2 / 4, 4),
        "that names what is shown alone": (1 / 2, 2),
        "that can be staged": (3 / 4, 4),
        "scripts that are new": (3 / 4, 4),
        "ordered things that are in it": (1 / 2, 2),
        "lines that are new": (4 / 16, 16),
    }
