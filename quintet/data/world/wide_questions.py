"""The wide grammar's questions in words: numbers, letters, days, kinds and colours of things."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quintet.data.world.script import Cue, Said
from quintet.data.world.wide_things import (
    CATEGORIES,
    COLOURS,
    PLURAL,
    WIDE_BY_NAME,
    WIDE_THINGS,
    a,
    is_or_are,
)
from quintet.data.world.wide_words import (
    DAYS,
    MONTHS,
    NUMBERS,
    OPPOSITES,
    SEASONS,
    SENTENCES,
    SMALL_TO_LARGE,
    SOUNDS,
    number,
    pick,
)

Rng = np.random.Generator
Intent = Callable[[Rng], list[Cue]]
TYPED_SHARE = 0.25  # of the questions; the others are spoken
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def thing(rng: Rng) -> str:
    return pick(rng, WIDE_THINGS).name


def things(rng: Rng, count: int) -> list[str]:
    """Different ones."""
    return [WIDE_THINGS[int(i)].name for i in rng.choice(len(WIDE_THINGS), count, replace=False)]


def asked(rng: Rng, text: str) -> Said:
    """A question of the user, spoken or typed."""
    return Said("user", text, "types" if rng.random() < TYPED_SHARE else "says")


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _question(forms: tuple[str, ...], make: Callable[[Rng], tuple[dict[str, str], str]]) -> Intent:
    """An intent: a form filled with what `make` gives, answered by its second value."""

    def write(rng: Rng) -> list[Cue]:
        words, answer = make(rng)
        return [asked(rng, pick(rng, forms).format(**words)), Said("assistant", answer)]

    return write


def _say(rng: Rng) -> tuple[dict[str, str], str]:
    name = thing(rng)
    return {"name": name}, capital(name) + "."


def _repeat(rng: Rng) -> tuple[dict[str, str], str]:
    sentence = pick(rng, SENTENCES)
    return {"sentence": sentence}, sentence


def _spell(rng: Rng) -> tuple[dict[str, str], str]:
    name = pick(rng, [t.name for t in WIDE_THINGS if t.name.isalpha() and len(t.name) < 8])
    return {"name": name}, ", ".join(name.upper()) + "."


def _spelled(rng: Rng) -> tuple[dict[str, str], str]:
    name = pick(rng, [t.name for t in WIDE_THINGS if t.name.isalpha() and len(t.name) < 7])
    return {"letters": ", ".join(name.upper())}, capital(name) + "."


def _first_letter(rng: Rng) -> tuple[dict[str, str], str]:
    name = thing(rng)
    return {"name": name}, f"{name[0].upper()}."


def _num_letters(rng: Rng) -> tuple[dict[str, str], str]:
    name = pick(rng, [t.name for t in WIDE_THINGS if t.name.isalpha()])
    return {"name": name}, capital(number(len(name))) + "."


def _next_letter(rng: Rng) -> tuple[dict[str, str], str]:
    at = int(rng.integers(len(LETTERS) - 1))
    return {"letter": LETTERS[at]}, f"{LETTERS[at + 1]}."


def _sum(rng: Rng) -> tuple[dict[str, str], str]:
    x, y = (int(value) for value in rng.integers(1, 21, 2))
    return {"x": number(x), "y": number(y)}, capital(number(x + y)) + "."


def _difference(rng: Rng) -> tuple[dict[str, str], str]:
    y, rest = (int(value) for value in rng.integers(1, 15, 2))
    return {"x": number(y + rest), "y": number(y)}, capital(number(rest)) + "."


def _product(rng: Rng) -> tuple[dict[str, str], str]:
    x, y = (int(value) for value in rng.integers(2, 10, 2))
    return {"x": number(x), "y": number(y)}, capital(number(x * y)) + "."


def _larger(rng: Rng) -> tuple[dict[str, str], str]:
    x, y = (int(value) for value in rng.choice(99, 2, replace=False))
    return {"x": number(x), "y": number(y)}, capital(number(max(x, y))) + "."


def _next_number(rng: Rng) -> tuple[dict[str, str], str]:
    x = int(rng.integers(98))
    return {"x": number(x)}, capital(number(x + 1)) + "."


def _even(rng: Rng) -> tuple[dict[str, str], str]:
    x = int(rng.integers(1, 100))
    return {"x": number(x)}, "Even." if x % 2 == 0 else "Odd."


def _count(rng: Rng) -> tuple[dict[str, str], str]:
    last = int(rng.integers(2, 13))
    return {"x": NUMBERS[last]}, capital(", ".join(NUMBERS[1 : last + 1])) + "."


def _count_down(rng: Rng) -> tuple[dict[str, str], str]:
    first = int(rng.integers(2, 11))
    return {"x": NUMBERS[first]}, capital(", ".join(NUMBERS[first:0:-1])) + "."


def _count_by_twos(rng: Rng) -> tuple[dict[str, str], str]:
    last = 2 * int(rng.integers(2, 11))
    return {"x": NUMBERS[last]}, capital(", ".join(NUMBERS[2 : last + 1 : 2])) + "."


def _after(names: tuple[str, ...]) -> Callable[[Rng], tuple[dict[str, str], str]]:
    def make(rng: Rng) -> tuple[dict[str, str], str]:
        at = int(rng.integers(len(names)))
        return {"name": names[at]}, capital(names[(at + 1) % len(names)]) + "."

    return make


def _opposite(rng: Rng) -> tuple[dict[str, str], str]:
    word, other = pick(rng, list(OPPOSITES.items()))
    if rng.random() < 0.5:
        word, other = other, word
    return {"word": word}, capital(other) + "."


def _colour(rng: Rng) -> tuple[dict[str, str], str]:
    name = pick(rng, list(COLOURS))
    words = {"verb": is_or_are(name), "a": name if name in PLURAL else a(name)}
    return words, f"{capital(COLOURS[name])}."


def _category(rng: Rng) -> tuple[dict[str, str], str]:
    names = [category for category in CATEGORIES if category != "other"]
    own = pick(rng, names)
    name = pick(rng, [one for one in CATEGORIES[own] if one not in PLURAL])
    # Some vegetables are fruits to those who know, and food is both.
    others = [one for one in names if one not in ("fruit", "vegetable", "food", "plant", own)]
    is_so = rng.random() < 0.5
    what = own if is_so else pick(rng, others)
    return {"a": a(name), "what": a(what)}, "Yes." if is_so else "No."


def _odd_one_out(rng: Rng) -> tuple[dict[str, str], str]:
    one, other = pick(rng, (("animal", "vehicle"), ("vehicle", "animal"), ("animal", "tool"),
                            ("tool", "animal"), ("vehicle", "drink")))  # fmt: skip
    names = [str(name) for name in rng.choice(CATEGORIES[one], 2, replace=False)]
    odd = pick(rng, CATEGORIES[other])
    names.insert(int(rng.integers(3)), odd)
    return {"list": f"{names[0]}, {names[1]}, {names[2]}"}, f"{capital(odd)}."


def _bigger(rng: Rng) -> tuple[dict[str, str], str]:
    first, second = sorted(int(i) for i in rng.choice(len(SMALL_TO_LARGE), 2, replace=False))
    pair = [SMALL_TO_LARGE[first], SMALL_TO_LARGE[second]]
    x, y = pair if rng.random() < 0.5 else pair[::-1]
    return {"x": a(x), "y": a(y)}, f"{capital(a(pair[1]))}."


def _animal_sound(rng: Rng) -> tuple[dict[str, str], str]:
    name, sound = pick(rng, list(SOUNDS.items()))
    return {"a": a(name)}, f"{capital(sound)}."


def _thanks(rng: Rng) -> tuple[dict[str, str], str]:
    return {}, "You are welcome."


def _greet(rng: Rng) -> tuple[dict[str, str], str]:
    hello = pick(rng, ("Hello", "Hi", "Good morning", "Good evening", "Hello there", "Hi there"))
    return {"hello": hello}, f"{hello.removesuffix(' there')}, nice to meet you."


QUESTIONS: dict[str, Intent] = {
    "say": _question(("Say {name}.", "Please say {name}.", "Can you say {name}?",
                      "Say the word {name}.", "Now say {name}."), _say),
    "repeat": _question(("Repeat after me: {sentence}", "Please repeat: {sentence}",
                         "Say after me: {sentence}", "Repeat this sentence: {sentence}"), _repeat),
    "spell": _question(("Spell {name}.", "How do you spell {name}?",
            "Please spell the word {name}.",
                        "Can you spell {name} for me?"), _spell),
    "spelled": _question(("What word is {letters}?", "What does {letters} spell?",
                          "I spell: {letters}. Which word is it?"), _spelled),
    "first letter": _question(("What letter does {name} begin with?",
                               "What is the first letter of {name}?",
                               "Tell me the first letter of {name}."), _first_letter),
    "number of letters": _question(("How many letters does {name} have?",
                                    "How many letters are in the word {name}?",
                                    "Count the letters of {name}."), _num_letters),
    "next letter": _question(("What letter comes after {letter}?", "Which letter follows {letter}?",
                              "What is the letter after {letter}?"), _next_letter),
    "sum": _question(("What is {x} plus {y}?", "How much is {x} and {y}?", "Add {x} and {y}."),
            _sum),
    "difference": _question(("What is {x} minus {y}?", "Take {y} away from {x}.",
                             "How much is {x} less {y}?"), _difference),
    "product": _question(("What is {x} times {y}?", "Multiply {x} by {y}.",
                          "How much is {x} times {y}?"), _product),
    "larger number": _question(("Which is larger, {x} or {y}?", "What is more, {x} or {y}?",
                                "Tell me the larger number: {x} or {y}."), _larger),
    "next number": _question(("What comes after {x}?", "Which number follows {x}?",
                              "What is the number after {x}?"), _next_number),
    "even or odd": _question(("Is {x} even or odd?", "Even or odd: {x}?",
                              "Tell me whether {x} is even or odd."), _even),
    "count": _question(("Count to {x}.", "Please count to {x}.", "Can you count to {x}?",
                        "Count from one to {x}."), _count),
    "count down": _question(("Count down from {x}.", "Count backwards from {x}.",
                             "Please count from {x} down to one."), _count_down),
    "count by twos": _question(("Count by twos up to {x}.", "Tell me the even numbers up to {x}.",
                                "Count to {x} in twos."), _count_by_twos),
    "day after": _question(("What day comes after {name}?", "Which day follows {name}?",
                            "What is the day after {name}?"), _after(DAYS)),
    "month after": _question(("What month comes after {name}?", "Which month follows {name}?",
                              "What is the month after {name}?"), _after(MONTHS)),
    "season after": _question(("What season comes after {name}?", "Which season follows {name}?",
                               "What is the season after {name}?"), _after(SEASONS)),
    "opposite": _question(("What is the opposite of {word}?", "Tell me the opposite of {word}.",
                           "Which word is the opposite of {word}?"), _opposite),
    "colour": _question(("What colour {verb} {a}?", "Which colour {verb} {a}?",
                         "Tell me what colour {a} {verb}."), _colour),
    "is it one": _question(("Is {a} {what}?", "Would you call {a} {what}?",
                            "Tell me: is {a} {what}?"), _category),
    "odd one out": _question(("Which is the odd one out: {list}?", "What does not belong: {list}?",
                              "One of these is different: {list}. Which?"), _odd_one_out),
    "which is bigger": _question(("Which is bigger, {x} or {y}?", "What is larger, {x} or {y}?",
                                  "Tell me what is bigger: {x} or {y}."), _bigger),
    "animal sound": _question(("What does {a} say?", "What sound does {a} make?",
                               "Make the sound of {a}."), _animal_sound),
    "thanks": _question(("Thank you.", "Thanks a lot.", "Thank you very much.", "Thanks."),
            _thanks),
    "greet": _question(("{hello}.", "{hello}!", "{hello}, how are you?"), _greet),
}  # fmt: skip

assert set(SOUNDS) | set(SMALL_TO_LARGE) <= set(WIDE_BY_NAME)
