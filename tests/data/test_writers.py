"""The grammar writes right answers, many ways; models are read through the parser."""

import json
import re

import numpy as np
import pytest
from fake_endpoint import serving

from quintet.config import UserError
from quintet.data.world.script import Script, Wait, find_awaited
from quintet.data.world.script_text import parse
from quintet.data.world.things import THINGS
from quintet.data.world.wide_things import COLOURS, WIDE_BY_NAME, WIDE_THINGS
from quintet.data.world.wide_words import NUMBERS, number
from quintet.data.world.writers import (
    INTENTS,
    KEY_VARIABLE,
    GrammarWriter,
    ModelWriter,
    drawn_things,
    endpoint_writer,
    order,
    prompt,
    things_of,
)
from quintet.media import endpoint

GOOD = "title: x\nuser: hi\nassistant: Hello.\n"


def _scripts(intent: str, count: int) -> list[Script]:
    return [Script(intent, tuple(INTENTS[intent](np.random.default_rng(s)))) for s in range(count)]


def test_the_wide_world_is_wide_and_keeps_the_old() -> None:
    assert len(INTENTS) >= 40
    assert len(WIDE_THINGS) >= 250
    assert WIDE_THINGS[:64] == THINGS
    assert all(name in {thing.name for thing in WIDE_THINGS} for name in COLOURS)


@pytest.mark.parametrize("intent", INTENTS)
def test_every_intent_is_valid_varied_and_comes_back(intent: str) -> None:
    scripts = _scripts(intent, 60)
    assert len({script.write() for script in scripts}) >= 4
    for script in scripts:
        assert parse(script.write()) == script
        assert "{" not in script.write()
        for index, cue in enumerate(script.cues):
            if isinstance(cue, Wait):  # nothing before the right moment may look like it
                found = find_awaited(script.cues, index)
                assert found is not None and found > index
    # Without letters and numbers written out, several ways to ask are left.
    if intent not in ("shown unasked", "never comes", "greet back", "backchannel", "late picture"):
        said = {cue.text for script in scripts for cue in script.cues if hasattr(cue, "speaker")
                and cue.speaker != "assistant"}  # fmt: skip
        assert len(said) >= 3


VALUES = {number(value): value for value in range(100)}


@pytest.mark.parametrize(("intent", "right"), [
    ("sum", lambda x, y: x + y), ("difference", lambda x, y: abs(x - y)),
    ("product", lambda x, y: x * y), ("larger number", max),
])  # fmt: skip
def test_sums_are_right(intent: str, right) -> None:
    for script in _scripts(intent, 40):
        question, answer = script.cues
        values = [VALUES[w] for w in re.findall(r"[a-z-]+", question.text.lower()) if w in VALUES]
        assert VALUES[answer.text.rstrip(".").lower()] == right(*values[-2:])


def test_counting_and_spelling_are_right() -> None:
    for script in _scripts("count", 20):
        words = script.cues[1].text.lower().rstrip(".").split(", ")
        assert words == list(NUMBERS[1 : len(words) + 1])
        assert words[-1] in script.cues[0].text
    for script in _scripts("spell", 20):
        assert script.cues[1].text.rstrip(".").replace(", ", "").lower() in script.cues[0].text
    for script in _scripts("number of letters", 20):
        lengths = {len(word) for word in re.findall(r"[a-z]+", script.cues[0].text)}
        assert VALUES[script.cues[1].text.rstrip(".").lower()] in lengths


def test_a_seed_is_a_script() -> None:
    writer, again = GrammarWriter(), GrammarWriter()
    scripts = [writer.write(seed) for seed in range(300)]
    assert scripts[::-1] == [again.write(seed) for seed in range(299, -1, -1)]
    assert len({script.write() for script in scripts}) > 290
    named = {name for script in scripts for name in script.title.split(", ")}
    assert len(named) > 55
    only = {GrammarWriter(("sum",)).write(seed).title for seed in range(9)}
    assert {name for title in only for name in title.split(", ")} == {"sum"}
    with pytest.raises(UserError, match="no intent sing; choose from"):
        GrammarWriter(("sing",))


def test_a_model_is_asked_again_until_it_writes_a_script() -> None:
    answers = iter(["I cannot do that.", "user: hi\n[draw cat]", "```\nHuman: hi\nAI: Hello.\n```"])
    writer = ModelWriter(lambda seed: next(answers))
    script = writer.write(3)
    assert [cue.text for cue in script.cues] == ["hi", "Hello."]
    assert writer.counts == {"refused": 2, "scripts": 1, "fence": 2, "speaker": 2}
    with pytest.raises(UserError, match="no script in 4 tries; the last was refused"):
        ModelWriter(lambda seed: "no").write(0)


def test_a_prompt_is_a_function_of_its_seed_and_holds_a_valid_example() -> None:
    assert prompt(5) == prompt(5) != prompt(6)
    example = prompt(5).split("An example:\n\n")[1].split("\nWrite another")[0]
    assert parse(example).write() == example


def test_a_model_of_ours_is_asked_in_turn_mode() -> None:
    class Model:
        def chat(self, messages, seed, sampling):
            assert messages[0] == {"role": "user", "content": [order(drawn_things(seed))]}
            assert sampling == "warm"
            return type("Reply", (), {"text": GOOD})()

    assert ModelWriter.of(Model(), "warm").write(1) == parse(GOOD)


def test_an_order_names_what_is_to_be_seen() -> None:
    script = parse("[show cat]\nuser: hi\n[video dog, cat for 4]\n[draw owl]\nassistant: Hm.\n")
    assert things_of(script) == ["cat", "dog", "owl"]
    assert order(things_of(script)) == "write a script with: cat, dog, owl."
    assert order([]) == "write a script."
    drawn = [drawn_things(seed) for seed in range(200)]
    assert drawn == [drawn_things(seed) for seed in range(200)]
    assert {len(set(things)) for things in drawn} == {0, 1, 2, 3}
    assert set().union(*drawn) <= set(WIDE_BY_NAME)


def test_an_endpoint_is_asked_as_its_protocol_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    busy = iter([503, 200])

    def answer(path, body):
        reply = {"choices": [{"message": {"role": "assistant", "content": GOOD}}]}
        return next(busy), json.dumps(reply).encode()

    monkeypatch.setattr(endpoint.Endpoint.__init__, "__defaults__", ("", 0.0))
    with serving(answer) as (url, came):
        assert endpoint_writer(url, "any").write(7) == parse(GOOD)
    (path, body, key), second = came
    assert path == "/v1/chat/completions" and key == "Bearer secret"
    assert body["model"] == "any" and body["messages"][0]["role"] == "user"
    assert second[1] == body


@pytest.mark.parametrize(("status", "content", "sentence"), [
    (401, b"{}", "status 401"), (200, b"<html>", "something else than JSON"),
    (200, b'{"choices": []}', "without a text"), (200, b"x" * 3_000, "without end"),
    (307, b"", "status 307"),
])  # fmt: skip
def test_what_an_endpoint_may_not_do(status, content, sentence, monkeypatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_BYTES", 2_000)
    with serving(lambda path, body: (status, content)) as (url, came):
        with pytest.raises(UserError, match=sentence):
            endpoint_writer(url, "any").write(0)
        assert len(came) == (4 if "text" in sentence else 1)


def test_an_endpoint_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint.Endpoint.__init__, "__defaults__", ("", 0.0))
    with pytest.raises(UserError, match="gave no answer"):
        endpoint_writer("http://127.0.0.1:9/v1", "any").write(0)
    with pytest.raises(UserError, match="an address such as"):
        endpoint_writer("file:///etc/passwd", "any")
    with pytest.raises(UserError, match="an address such as"):
        endpoint_writer("http://me:key@host/v1", "any")
