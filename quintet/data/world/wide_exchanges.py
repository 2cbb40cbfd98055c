"""The wide grammar's exchanges with pictures and languages: a question and the right answer."""

from __future__ import annotations

from quintet.data.world.script import Cue, Draw, Pause, Said, Show, Silence
from quintet.data.world.wide_questions import QUESTIONS, Intent, Rng, asked, capital, thing, things
from quintet.data.world.wide_things import CATEGORIES, COLOURS, PLURAL, a, this_is
from quintet.data.world.wide_words import GREETINGS, MEANINGS, NUMBERS, pick


def _translate(rng: Rng) -> list[Cue]:
    language, at = pick(rng, list(GREETINGS)), int(rng.integers(len(MEANINGS)))
    form = pick(rng, ("How do you say {what} in {language}?", "What is {what} in {language}?",
                      "Translate {what} into {language}.",
                      "Say {what} in {language}, please."))  # fmt: skip
    text = form.format(what=MEANINGS[at], language=language)
    return [asked(rng, text), Said("assistant", GREETINGS[language][at], "says", language)]


def _meaning(rng: Rng) -> list[Cue]:
    """Said in another language; what does it mean?"""
    language, at = pick(rng, list(GREETINGS)), int(rng.integers(len(MEANINGS)))
    form = pick(rng, ("What does that mean?", "What does this mean in English?",
                      "Please translate that.", "Can you say that in English?"))  # fmt: skip
    return [
        Said("user", GREETINGS[language][at], "says", language), Pause(0.25), Said("user", form),
        Said("assistant", f"{capital(MEANINGS[at])}."),
    ]  # fmt: skip


def _which_language(rng: Rng) -> list[Cue]:
    language, at = pick(rng, list(GREETINGS)), int(rng.integers(len(MEANINGS)))
    form = pick(rng, ("Which language is that?", "What language was that?",
                      "Do you know this language?",
                      "In which language did I say that?"))  # fmt: skip
    return [
        Said("user", GREETINGS[language][at], "says", language), Pause(0.25), Said("user", form),
        Said("assistant", f"{language}."),
    ]  # fmt: skip


def _greet_back(rng: Rng) -> list[Cue]:
    """A greeting in another language is answered in it."""
    language = pick(rng, list(GREETINGS))
    text = pick(rng, GREETINGS[language][:2])
    return [Said("user", text, "says", language), Said("assistant", text, "says", language)]


NAME = (
    "What is this?", "What do you see?", "Tell me what this is.", "What is in the picture?",
    "Can you name this?", "Look, what is that?", "What am I showing you?", "Please name this.",
)  # fmt: skip


def _name(rng: Rng) -> list[Cue]:
    name = thing(rng)
    return [Show(name), asked(rng, pick(rng, NAME)), Said("assistant", this_is(name))]


def _draw(rng: Rng) -> list[Cue]:
    name = thing(rng)
    form = pick(rng, ("Draw {a}.", "Please draw {a}.", "Can you draw {a} for me?",
                      "I want a picture of {a}.", "Make a drawing of {a}.",
                      "Paint {a}."))  # fmt: skip
    verb = "Here are" if name in PLURAL else "Here is"
    words = name if name in PLURAL else a(name)
    return [asked(rng, form.format(a=a(name))), Draw(name), Said("assistant", f"{verb} {words}.")]


def _is_it(rng: Rng) -> list[Cue]:
    name, other = things(rng, 2)
    is_so = rng.random() < 0.5
    form = pick(rng, ("Is this {a}?", "Am I showing you {a}?", "Is there {a} in the picture?",
                      "Do you see {a}?"))  # fmt: skip
    answer = f"{'Yes' if is_so else 'No'}, {this_is(name).lower()}"
    return [Show(name), asked(rng, form.format(a=a(name if is_so else other))),
            Said("assistant", answer)]  # fmt: skip


def _kind_of_thing(rng: Rng) -> list[Cue]:
    category = pick(rng, [one for one in CATEGORIES if one != "other"])
    name = pick(rng, CATEGORIES[category])
    form = pick(rng, ("What kind of thing is this?", "What sort of thing do you see?",
                      "Is this an animal, a vehicle, or what?"))  # fmt: skip
    return [Show(name), asked(rng, form), Said("assistant", f"{capital(a(category))}.")]


def _colour_seen(rng: Rng) -> list[Cue]:
    name = pick(rng, list(COLOURS))
    form = pick(rng, ("What colour is this?", "Which colour do you see?",
                      "Tell me the colour of this."))  # fmt: skip
    return [Show(name), asked(rng, form), Said("assistant", f"{capital(COLOURS[name])}.")]


def _compare(rng: Rng) -> list[Cue]:
    """Two pictures of the same thing or of two."""
    name, other = things(rng, 2)
    second = name if rng.random() < 0.5 else other
    form = pick(rng, ("Are the two pictures of the same thing?",
            "Is this the same thing as before?",
                      "Compare the two pictures. Are they the same?"))  # fmt: skip
    answer = f"Yes, both show {a(name)}." if second == name else (
        f"No. The first shows {a(name)}, the second {a(second)}."
    )  # fmt: skip
    return [Show(name), Pause(0.5), Show(second), asked(rng, form), Said("assistant", answer)]


def _which_came_first(rng: Rng) -> list[Cue]:
    names = things(rng, 3)
    first = rng.random() < 0.5
    form = pick(rng, ("What did I show you {which}?", "Which thing came {which}?",
                      "What was the {which} picture?"))  # fmt: skip
    text = form.format(which="first" if first else "last")
    shown: list[Cue] = []
    for name in names:
        shown += [Show(name), Pause(0.5)]
    return [*shown, asked(rng, text), Said("assistant", f"{capital(a(names[0 if first else 2]))}.")]


def _how_many(rng: Rng) -> list[Cue]:
    names = things(rng, int(rng.integers(1, 5)))
    form = pick(rng, ("How many pictures did I show you?", "How many pictures were there?",
                      "Count the pictures that I showed you."))  # fmt: skip
    shown: list[Cue] = []
    for name in names:
        shown += [Show(name), Pause(0.5)]
    return [*shown, asked(rng, form), Said("assistant", f"{capital(NUMBERS[len(names)])}.")]


def _draw_shown(rng: Rng) -> list[Cue]:
    name = thing(rng)
    form = pick(rng, ("Draw what I show you.", "Can you draw this?", "Please draw the same thing."))
    return [Show(name), asked(rng, form), Draw(name), Said("assistant", this_is(name))]


def _shown_unasked(rng: Rng) -> list[Cue]:
    """Nobody asks about a picture: silence is right."""
    return [Show(thing(rng)), Silence(float(rng.integers(2, 6)) / 2)]


EXCHANGES: dict[str, Intent] = {
    **QUESTIONS, "translate": _translate, "meaning": _meaning, "which language": _which_language,
    "greet back": _greet_back, "name": _name, "draw": _draw, "is it": _is_it,
    "kind of thing": _kind_of_thing, "colour seen": _colour_seen, "compare": _compare,
    "which came first": _which_came_first, "how many": _how_many, "draw shown": _draw_shown,
    "shown unasked": _shown_unasked,
}  # fmt: skip
