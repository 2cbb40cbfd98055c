"""The things that the synthetic world knows, each with a name and a picture."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thing:
    """An everyday thing: `name` is spoken and written, `emoji` is its picture."""

    name: str
    emoji: str


# Names that sound different from each other and pictures that look different.
THINGS: tuple[Thing, ...] = tuple(
    Thing(name, emoji)
    for name, emoji in {
        "apple": "🍎", "banana": "🍌", "lemon": "🍋", "strawberry": "🍓", "watermelon": "🍉",
        "pineapple": "🍍", "carrot": "🥕", "tomato": "🍅", "mushroom": "🍄", "bread": "🍞",
        "cheese": "🧀", "egg": "🥚", "pizza": "🍕", "hamburger": "🍔", "cookie": "🍪",
        "cake": "🎂", "coffee": "☕", "cat": "🐱", "dog": "🐶", "horse": "🐴", "elephant": "🐘",
        "lion": "🦁", "monkey": "🐵", "panda": "🐼", "frog": "🐸", "chicken": "🐔",
        "penguin": "🐧", "octopus": "🐙", "fish": "🐟", "dolphin": "🐬", "snake": "🐍",
        "turtle": "🐢", "butterfly": "🦋", "spider": "🕷", "ladybug": "🐞", "flower": "🌻",
        "rose": "🌹", "tree": "🌳", "cactus": "🌵", "sun": "🌞", "moon": "🌙", "star": "⭐",
        "rainbow": "🌈", "cloud": "☁", "fire": "🔥", "snowman": "⛄", "umbrella": "☂",
        "car": "🚗", "bus": "🚌", "bicycle": "🚲", "airplane": "✈", "rocket": "🚀",
        "boat": "⛵", "house": "🏠", "clock": "⏰", "key": "🔑", "book": "📕", "guitar": "🎸",
        "drum": "🥁", "balloon": "🎈", "football": "⚽", "hammer": "🔨", "telephone": "☎",
        "heart": "❤",
    }.items()
)  # fmt: skip

assert len(THINGS) == 64 and len({t.emoji for t in THINGS}) == 64

BY_NAME: dict[str, Thing] = {thing.name: thing for thing in THINGS}


MOST_THINGS = 5  # of a kind, in one picture
UNCOUNTED = ("bread", "cheese", "coffee", "fire")


def with_article(name: str) -> str:
    """ "apple" -> "an apple", "bread" -> "some bread"."""
    if name in UNCOUNTED:
        return f"some {name}"
    return ("an " if name[0] in "aeiou" else "a ") + name


_PLURALS = {
    "strawberry": "strawberries", "butterfly": "butterflies", "tomato": "tomatoes",
    "bus": "buses", "octopus": "octopuses", "cactus": "cactuses", "snowman": "snowmen",
    "fish": "fish",
}  # fmt: skip


def plural(name: str) -> str:
    """ "apple" -> "apples"; nobody counts what is in `UNCOUNTED`."""
    assert name not in UNCOUNTED, name
    return _PLURALS.get(name, f"{name}s")
