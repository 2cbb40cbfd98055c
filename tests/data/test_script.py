"""Scripts come back from their text; what is no script is refused in one sentence."""

import numpy as np
import pytest

from quintet.config import UserError
from quintet.data.world.script import (
    LANGUAGES,
    WAYS,
    Cue,
    Draw,
    Intent,
    Interrupt,
    Overlap,
    Pause,
    Said,
    Script,
    Show,
    Silence,
    Video,
    Wait,
)
from quintet.data.world.script_text import MAX_TEXT, REPAIRS, parse
from quintet.data.world.wide_things import WIDE_THINGS

ODD = ("title: me", "user: no", "[pause 1]", "**bold**", "- one", "1. two", "```", "(no)", "a: b",
       '"quoted" and "more"', "Grüß Gott, 世界", "what?", "[", "x]", "…")  # fmt: skip


def _random_script(rng: np.random.Generator) -> Script:
    def pick(choices):
        return choices[int(rng.integers(len(choices)))]

    def thing() -> str:
        return pick(WIDE_THINGS).name

    def length() -> float:
        return round(float(rng.uniform(0.001, 20)), 3)

    cues: list[Cue] = [Said("user", "begin")]
    while len(cues) < 20:
        speaker = pick(list(WAYS))
        line = Said(speaker, pick(ODD), pick(WAYS[speaker]), pick(list(LANGUAGES)))
        kind = int(rng.integers(9))
        if kind == 0:
            cues += [Draw(thing()), Said("assistant", pick(ODD), pick(WAYS["assistant"]))]
        elif kind == 1:
            cues += [Said("other", pick(ODD)), pick((Overlap, Interrupt))(length()),
                     Said("assistant", pick(ODD))]  # fmt: skip
        elif kind == 2:
            name = thing()
            cues += [Wait(name), Video((thing(), name), length()), Said("assistant", pick(ODD))]
        elif kind == 3:
            cues += [Wait("go"), Said("user", "Now: Go!"), Said("assistant", pick(ODD))]
        elif kind == 4:
            cues += [pick((Pause, Silence))(length())]
        elif kind == 5:
            cues += [Show(thing())]
        elif kind == 6:
            cues += [Intent(pick(("count", "a: b", "tell me when")))]
        else:
            cues += [line]
    return Script(pick(("", "A title", "title: title")), tuple(cues))


def test_every_script_comes_back_from_its_text() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        script = _random_script(rng)
        repairs: list[str] = []
        assert parse(script.write(), repairs) == script
        assert repairs == []


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("fence", "```text\nuser: hi\n```", (Said("user", "hi"),)),
    ("remark", "Sure! Here is one.\n\nuser: hi\n\nI hope you like it.", (Said("user", "hi"),)),
    ("markup", '- **user:** "hi"', (Said("user", "hi"),)),
    ("spaces", "  user:   hi \u200b there", (Said("user", "hi there"),)),
    ("bracket", "user: hi\n(pause 2)", (Said("user", "hi"), Pause(2.0))),
    ("bracket", "user: hi\n[pause 2", (Said("user", "hi"), Pause(2.0))),
    ("speaker", "Human: hi\nAI: yes", (Said("user", "hi"), Said("assistant", "yes"))),
    ("unit", "user: hi\n[PAUSE: 1.5 seconds]", (Said("user", "hi"), Pause(1.5))),
    ("seconds", "user: hi\n[silence 300]", (Said("user", "hi"), Silence(20.0))),
    ("seconds", "user: hi\n[pause 0]", (Said("user", "hi"), Pause(0.25))),
    ("article", "user: hi\n[show a picture of a Cat]", (Said("user", "hi"), Show("cat"))),
    ("article", "user: hi\n[wait until a cat appears]\n[show cat]\nassistant: yes",
     (Said("user", "hi"), Wait("cat"), Show("cat"), Said("assistant", "yes"))),
    ("article", "user: hi\n[video dogs and cats for 3]",
     (Said("user", "hi"), Video(("dog", "cat"), 3.0))),
    ("draw", "user: hi\nassistant: Here.\n[draw cat]",
     (Said("user", "hi"), Draw("cat"), Said("assistant", "Here."))),
    ("overlap", "user: hi\n[overlap 1]\nuser: you", (Said("user", "hi"), Said("user", "you"))),
])  # fmt: skip
def test_what_is_safely_repaired(name: str, text: str, expected: tuple[Cue, ...]) -> None:
    repairs: list[str] = []
    script = parse(text, repairs)
    assert script.cues == expected
    assert name in repairs and set(repairs) <= set(REPAIRS)
    assert parse(script.write()) == script


@pytest.mark.parametrize(("text", "sentence"), [
    ("", "nothing happens"),
    ("[pause 1]", "nothing happens"),
    ("user: hi\nwhat a day\nuser: you", "'what a day', is no cue"),
    ("user: hi\n[pause long]", "write for example"),
    ("user: hi\n[show gryphon]", "no picture of 'gryphon'"),
    ("user: hi\n[draw cat]", "without a word"),
    ("user: hi\n[wait until cat]\nassistant: yes", "does not come before"),
    ("user: hi\n[wait until cat]\n[show cat]", "does not come before"),
    ("user writes: hi", "Nobody in a script is 'user' who writes"),
    ("user in Klingon: hi", "Klingon"),
    ("user: hi\n[interrupt 1]\nuser: you", "no two people"),
    ("user: hi\n[overlap 1]\nassistant writes: you\n[interrupt 1]\nuser: a", "no two people"),
    ("user:", "empty line"),
    ("user: " + "a" * 301, "at most 300 characters"),
    ("user: a\n" * 121, "at most 120 lines"),
    ("user: a\n" * 500, "at most"),
    ("a" * (MAX_TEXT + 1), "at most"),
    ("user: hi\n[video cat, cat, cat, cat, cat, cat, cat for 3]", "1 to 6 things"),
])  # fmt: skip
def test_the_rest_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        parse(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_any_text_is_a_script_or_refused() -> None:
    """Whatever a model writes: nothing but a script or a UserError comes of it."""
    rng = np.random.default_rng(1)
    parts = ["user", "assistant", ":", " ", "[", "]", "pause", "wait until", "cat", "\n", "(", ")",
             "1", "for", "video", ",", "*", "types", " in ", "German", "\x00", "é", "[draw cat]\n",
             "assistant: a\n", "user: b\n", "[overlap 1]\n", "```\n", "1e9", "nan"]  # fmt: skip
    good = 0
    for _ in range(3_000):
        text = "".join(rng.choice(parts, int(rng.integers(1, 25))))
        try:
            script = parse(text)
        except UserError:
            continue
        assert parse(script.write()) == script
        good += 1
    assert good > 100
