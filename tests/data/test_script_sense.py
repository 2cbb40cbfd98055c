"""Scripts that are true to what they show, and others."""

from __future__ import annotations

import pytest

from quintet.config import UserError
from quintet.data.world.script_sense import unseen_thing
from quintet.data.world.script_text import parse
from quintet.data.world.writers import GrammarWriter, ModelWriter

RIGHT = "[show fire engine]\nuser: What is this?\nassistant: This is a fire engine.\n"
WRONG = "[show ruler]\nuser: Is this a cucumber?\nassistant: Yes, this is a ghost.\n"


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        (RIGHT, ""),
        (WRONG, "ghost"),
        ("user: I am a ghost.\nassistant: Hello, ghost.\n", ""),  # said to be, not to be seen
        ("user: Draw an owl.\n[draw owl]\nassistant: Here is an owl.\n", ""),
        ("user: Draw an owl.\nassistant: Here is an owl.\n[show owl]\n", "owl"),
        ("[video dog, cat for 4]\nuser: And?\nassistant: I see a cat. There is the Dog.\n", ""),
        ("user: This is a cat.\nassistant: Fine.\n", ""),  # the user may say what they like
    ],
)
def test_what_is_named_must_be_seen(text: str, thing: str) -> None:
    assert unseen_thing(parse(text)) == thing


def test_the_grammar_is_always_true() -> None:
    writer = GrammarWriter()
    scripts = [writer.write(seed) for seed in range(300)]
    assert not any(map(unseen_thing, scripts))
    assert sum("this is a" in script.write().lower() for script in scripts) > 30


def test_a_model_is_asked_again_until_it_is_true() -> None:
    answers = iter([WRONG, RIGHT])
    writer = ModelWriter(lambda seed: next(answers))
    assert writer.write(0) == parse(RIGHT)
    assert writer.counts == {"refused": 1, "scripts": 1}
    with pytest.raises(UserError, match="a thing that nobody shows: 'ghost'"):
        ModelWriter(lambda seed: WRONG).write(0)
