"""What people say in the synthetic world, and what the assistant answers."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quintet.data.world.things import (
    MOST_THINGS,
    THINGS,
    UNCOUNTED,
    Thing,
    plural,
    with_article,
)


@dataclass(frozen=True)
class Request:
    """Something said by a person. `reply` is empty where silence is right."""

    kind: str
    text: str
    reply: str
    thing: Thing | None = None
    count: int = 1  # how many of `thing` are shown


NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = re.compile(rf"(?<!-)\b({'|'.join(NUMBERS[1:])})\b")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "pink")

NAME = (
    "what is this?", "what do you see?", "tell me what this is.", "what is in the picture?",
    "can you name this?", "do you know what this is?", "please name this thing.",
    "what am I showing you?", "and what is this?", "look, what is that?",
)  # fmt: skip
CHECK = (
    "is this {a}?", "is that {a}?", "is it {a}?", "do you see {a}?", "can you see {a}?",
    "is there {a} in the picture?", "tell me, is this {a}?", "am I showing you {a}?",
)  # fmt: skip
HOW_MANY = (
    "how many {names} do you see?", "how many {names} are there?", "count the {names}.",
    "how many {names} can you see?", "how many {names} are in the picture?",
    "please count the {names}.", "tell me how many {names} there are.",
)  # fmt: skip
DRAW = (
    "draw {a}.", "please draw {a}.", "can you draw {a}?", "draw me {a}.", "draw {a} for me.",
    "could you please draw {a}?", "I want a picture of {a}.", "show me a picture of {a}.",
    "make a drawing of {a}.", "paint {a} for me.",
)  # fmt: skip
SAY = (
    "say {name}.", "please say {name}.", "can you say {name}?", "say the word {name}.",
    "please say the word {name}.", "could you say {name} for me?", "now say {name}.",
    "how do you say {name}?",
)  # fmt: skip
REPEAT = (
    "repeat after me: {phrase}.", "repeat this: {phrase}.", "please repeat: {phrase}.",
    "say after me: {phrase}.", "can you repeat: {phrase}?", "repeat these words: {phrase}.",
)  # fmt: skip
COUNT = (
    "count to {number}.", "please count to {number}.", "can you count to {number}?",
    "count from one to {number}.", "count up to {number}, please.", "now count to {number}.",
)  # fmt: skip
GREETINGS = {
    "hello.": "Hello, how are you?", "hello there.": "Hello, how are you?",
    "hi.": "Hi, nice to meet you.", "hi there.": "Hi, nice to meet you.",
    "good morning.": "Good morning to you.", "good evening.": "Good evening to you.",
    "good night.": "Good night, sleep well.", "goodbye.": "Goodbye, see you soon.",
    "thank you.": "You are welcome.", "thank you very much.": "You are welcome.",
}  # fmt: skip
CHATTER = (
    "I saw {a} yesterday.", "my sister has {a}.", "we bought {a} last week.",
    "there was {a} in the garden.", "I like the {name}.", "he lost his {name} again.",
    "she told me about the {name}.", "the {name} is over there.", "I will be back soon.",
    "the weather is nice today.", "I am going home now.", "it is getting late.",
    "that was a good movie.", "I had lunch with my brother.", "the train was late again.",
    "let me think about it.", "I do not know.", "we should go to the market.",
    "my father works in the city.", "it rained all night.", "they are still waiting.",
    "no, not {a}, the other one.", "well, maybe tomorrow.", "I forgot the {name} at home.",
)  # fmt: skip
YES, NO = "Yes, this is {a}.", "No, this is {a}."  # to `CHECK`
THE_ASSISTANT_SAYS = {"name": "This is {a}.", "draw": "Here is {a}.", "say": "{Name}."}


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _about_a_thing(kind: str, forms: tuple[str, ...]) -> Callable[[np.random.Generator], Request]:
    def make(rng: np.random.Generator) -> Request:
        thing = THINGS[int(rng.integers(len(THINGS)))]
        words = {
            "a": with_article(thing.name), "name": thing.name, "Name": thing.name.capitalize()
        }  # fmt: skip
        reply = THE_ASSISTANT_SAYS.get(kind, "").format(**words)
        return Request(kind, _pick(rng, forms).format(**words), reply, thing)

    return make


def _check(rng: np.random.Generator) -> Request:
    """Whether the thing that is shown is one that is named: every other time it is."""
    thing = asked = THINGS[int(rng.integers(len(THINGS)))]
    if rng.random() < 0.5:
        while asked == thing:
            asked = THINGS[int(rng.integers(len(THINGS)))]
    text = _pick(rng, CHECK).format(a=with_article(asked.name))
    a = with_article(thing.name)
    return Request("check", text, (YES if asked == thing else NO).format(a=a), thing)


def how_many(rng: np.random.Generator) -> Request:
    """How many of a thing are shown: every number is as frequent.

    A request of its own beside `KINDS`, so that what is drawn from those stays as it was.
    """
    counted = [thing for thing in THINGS if thing.name not in UNCOUNTED]
    thing, count = counted[int(rng.integers(len(counted)))], int(rng.integers(MOST_THINGS)) + 1
    names = plural(thing.name)
    reply = f"{NUMBERS[count - 1].capitalize()} {thing.name if count == 1 else names}."
    return Request("how_many", _pick(rng, HOW_MANY).format(names=names), reply, thing, count)


def contradicted(reply: str) -> str:
    """An answer to "is this a cat?" with "no" instead of "yes", and the other way."""
    yes, no = (form.partition(",")[0] for form in (YES, NO))
    return no + reply.removeprefix(yes) if reply.startswith(yes) else yes + reply.removeprefix(no)


def _repeat(rng: np.random.Generator) -> Request:
    nouns = [THINGS[int(i)].name for i in rng.choice(len(THINGS), 2, replace=False)]
    colour, number = _pick(rng, COLOURS), _pick(rng, NUMBERS[1:])
    phrase = _pick(
        rng,
        (
            f"the {nouns[0]} and the {nouns[1]}", f"the {colour} {nouns[0]}",
            f"{with_article(colour)} {nouns[0]}", f"my {nouns[0]} is {colour}",
            f"{nouns[0]} and {nouns[1]}", f"number {number}",
        ),
    )  # fmt: skip
    return Request("repeat", _pick(rng, REPEAT).format(phrase=phrase), phrase.capitalize() + ".")


def _count(rng: np.random.Generator) -> Request:
    last = int(rng.integers(2, len(NUMBERS) + 1))
    reply = ", ".join(NUMBERS[:last]).capitalize() + "."
    return Request("count", _pick(rng, COUNT).format(number=NUMBERS[last - 1]), reply)


def _greet(rng: np.random.Generator) -> Request:
    text = _pick(rng, tuple(GREETINGS))
    return Request("greet", text, GREETINGS[text])


_MAKERS: dict[str, Callable[[np.random.Generator], Request]] = {
    "name": _about_a_thing("name", NAME),
    "check": _check,
    "draw": _about_a_thing("draw", DRAW),
    "say": _about_a_thing("say", SAY),
    "repeat": _repeat,
    "count": _count,
    "greet": _greet,
    "chatter": _about_a_thing("chatter", CHATTER),
}
KINDS = tuple(_MAKERS)
ABOUT_A_PICTURE = ("name", "check")  # whose `thing` is shown before


def request(kind: str, rng: np.random.Generator) -> Request:
    """A random request of `kind` (one of `KINDS`)."""
    return _MAKERS[kind](rng)


def as_typed(text: str, rng: np.random.Generator) -> str:
    """`text` as people type it: with or without a capital, with or without the last mark."""
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text.rstrip(".?") if rng.random() < 0.4 else text


def as_dashed_off(text: str, rng: np.random.Generator) -> str:
    """The same of this world's requests, some with digits, a few all in capitals or with one a
    word."""
    if rng.random() < 0.3:
        text = _NUMBER.sub(lambda word: str(NUMBERS.index(word[0]) + 1), text)
        text = text.replace("from one to", "from 1 to")
    text, shouted = as_typed(text, rng), rng.random()
    return text.upper() if shouted < 0.04 else string.capwords(text) if shouted < 0.1 else text
