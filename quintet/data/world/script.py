"""A script, as in a television script: what is said, shown, drawn and waited for, in order.

A script is valid as soon as it exists. It says nothing about voices, rooms or exact times: staging
(`quintet.data.world.staging`) does. Its plain text, a cue a line, is what people read and language
models write:

    title: Looking for a cat
    [intent tell me when]
    user: Tell me when you see a cat.
    assistant: I will.
    [wait until cat]
    [video dog, cat for 4]
    assistant: There is the cat.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from quintet.config import UserError
from quintet.data.world.wide_things import WIDE_BY_NAME

SPEAKERS = ("user", "other", "assistant")  # "other": somebody who does not talk to the assistant
# How something is said: the user may type it, the assistant may write it and say nothing.
WAYS = {"user": ("says", "types"), "other": ("says",), "assistant": ("says", "writes")}
LANGUAGES = {
    "English": "en-us", "German": "de", "Spanish": "es", "French": "fr-fr", "Italian": "it",
    "Portuguese": "pt", "Dutch": "nl", "Swedish": "sv", "Danish": "da", "Finnish": "fi",
    "Polish": "pl", "Czech": "cs", "Hungarian": "hu", "Romanian": "ro", "Greek": "el",
    "Turkish": "tr", "Russian": "ru", "Ukrainian": "uk", "Hindi": "hi", "Indonesian": "id",
    "Swahili": "sw", "Chinese": "cmn",
}  # fmt: skip
MAX_CUES = 120
MAX_CHARACTERS = 300  # of one line, and of a title
MAX_SECONDS = 20.0  # of a mark
MAX_SCENES = 6  # of one video, each with a thing of its own


@dataclass(frozen=True)
class Said:
    """A line: `text`, said by `speaker` in `way` (see `WAYS`) and `language`."""

    speaker: str
    text: str
    way: str = "says"
    language: str = "English"


@dataclass(frozen=True)
class Show:
    """The user shows a picture of a thing."""

    thing: str


@dataclass(frozen=True)
class Video:
    """The user shows a moving picture: one thing after another, each as long. It begins when one
    before it ends; the next cues do not wait for its end."""

    things: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Draw:
    """The assistant draws a thing, with its next line."""

    thing: str


@dataclass(frozen=True)
class Pause:
    """Nobody says anything for at least so long after what was before."""

    seconds: float


@dataclass(frozen=True)
class Overlap:
    """The next line begins so long before the last one ends, and does not stop it."""

    seconds: float


@dataclass(frozen=True)
class Interrupt:
    """The next line begins so long after the last one began; an assistant that is interrupted by
    the user falls silent."""

    seconds: float


@dataclass(frozen=True)
class Wait:
    """The assistant's next line answers what comes: a thing that is shown, or words of the
    user."""

    until: str


@dataclass(frozen=True)
class Silence:
    """For so long the assistant rightly says nothing, whatever was said or shown before."""

    seconds: float


@dataclass(frozen=True)
class Intent:
    """What follows is of this kind: a label, of which nothing is heard."""

    name: str


Cue = Said | Show | Video | Draw | Pause | Overlap | Interrupt | Wait | Silence | Intent


@dataclass(frozen=True)
class Script:
    """Cues in order.

    Raises:
        UserError: they make no sense together; the sentence names the first that does not.
    """

    title: str
    cues: tuple[Cue, ...]

    def __post_init__(self) -> None:
        _check_text(self.title, "title", empty=True)
        if all(isinstance(cue, Pause | Intent) for cue in self.cues):
            raise UserError("A script in which nothing happens is none; write a line.")
        if len(self.cues) > MAX_CUES:
            raise UserError(
                f"A script has at most {MAX_CUES} lines, not {len(self.cues)}; write two scripts."
            )
        for index, cue in enumerate(self.cues):
            _check(cue)
            _check_place(self.cues, index)

    def write(self) -> str:
        """The plain text, which `quintet.data.world.script_text.parse` reads back as this."""
        lines = [f"title: {self.title}"] if self.title else []
        return "\n".join([*lines, *map(write_cue, self.cues)]) + "\n"


def seconds(value: float) -> str:
    """2.0 -> "2", 0.25 -> "0.25"."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def write_cue(cue: Cue) -> str:
    """The line of a cue."""
    match cue:
        case Said(speaker, text, way, language):
            how = "" if way == "says" else f" {way}"
            tongue = "" if language == "English" else f" in {language}"
            return f"{speaker}{how}{tongue}: {text}"
        case Video(things, length):
            return f"[video {', '.join(things)} for {seconds(length)}]"
        case Show(thing) | Draw(thing):
            return f"[{type(cue).__name__.lower()} {thing}]"
        case Wait(until):
            return f"[wait until {until}]"
        case Intent(name):
            return f"[intent {name}]"
        case Pause(length) | Overlap(length) | Interrupt(length) | Silence(length):
            return f"[{type(cue).__name__.lower()} {seconds(length)}]"


def _check_text(text: str, what: str, empty: bool = False) -> None:
    """Text that stands on one line and comes back as it was."""
    if not text and not empty:
        raise UserError(f"A script has an empty {what}; write something or leave it out.")
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"A script's {what} has at most {MAX_CHARACTERS} characters, not {len(text)}; "
            "shorten it."
        )
    if text != plain(text):
        raise UserError(
            f"A script's {what} {text[:40]!r} holds spaces or signs that do not come back from "
            "its text; write it on one line with single spaces."
        )


def plain(text: str) -> str:
    """`text` in composed characters, on one line, with single spaces and without controls."""
    text = unicodedata.normalize("NFC", text)
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    return " ".join(kept.split())


def _check(cue: Cue) -> None:
    """A cue by itself."""
    match cue:
        case Said(speaker, text, way, language):
            if speaker not in SPEAKERS or way not in WAYS[speaker] or language not in LANGUAGES:
                raise UserError(
                    f"Nobody in a script is {speaker!r} who {way} in {language}; speakers are "
                    f"{', '.join(SPEAKERS)}, and docs/world.md says what they can do."
                )
            _check_text(text, "line")
            if text != unwrapped(text):
                raise UserError(
                    f"The line {text[:40]!r} stands in quotation marks; leave them out."
                )
        case Show(thing) | Draw(thing):
            _check_thing(thing)
        case Video(things, length):
            if not 1 <= len(things) <= MAX_SCENES:
                raise UserError(
                    f"A video in a script shows 1 to {MAX_SCENES} things, not {len(things)}."
                )
            for thing in things:
                _check_thing(thing)
            _check_seconds(length)
        case Wait(until):
            if not until or until != awaited(until) or len(until) > 60:
                raise UserError(
                    f"The script waits until {until[:60]!r}; name a thing, or some of the user's "
                    "words in small letters without marks."
                )
        case Intent(name):
            _check_text(name, "intent")
            if name.startswith((":", "=")) or "[" in name or "]" in name:
                raise UserError(f"A script's intent {name!r} has marks in it; use words alone.")
        case Pause(length) | Overlap(length) | Interrupt(length) | Silence(length):
            _check_seconds(length)


def _check_thing(name: str) -> None:
    if name not in WIDE_BY_NAME:
        raise UserError(f"The world has no picture of {name!r}; name one of its things.")


def _check_seconds(length: float) -> None:
    if not 0 < length <= MAX_SECONDS or length != float(seconds(length)):
        raise UserError(
            f"A mark in a script lasts {length!r} seconds; give more than 0 and at most "
            f"{MAX_SECONDS:g}, in thousandths."
        )


def _check_place(cues: tuple[Cue, ...], index: int) -> None:
    """A cue among the others."""
    cue = cues[index]
    after = cues[index + 1] if index + 1 < len(cues) else None
    if isinstance(cue, Draw) and not (isinstance(after, Said) and after.speaker == "assistant"):
        raise UserError(
            f"The script draws {cue.thing!r} without a word; let a line of the assistant follow."
        )
    if isinstance(cue, Overlap | Interrupt):
        _check_overlap(cue, cues[index - 1] if index else None, after)
    if isinstance(cue, Wait) and not comes(cues, index):
        raise UserError(
            f"The script waits until {cue.until!r}, which does not come before the assistant's "
            "next line; show it or let the user say it."
        )


def _check_overlap(cue: Overlap | Interrupt, before: Cue | None, after: Cue | None) -> None:
    lines = [one for one in (before, after) if isinstance(one, Said)]
    sounding = len(lines) == 2 and all(line.way == "says" for line in lines)
    if not sounding or lines[0].speaker == lines[1].speaker:
        raise UserError(
            f"The script has {write_cue(cue)} where no two people speak one after the other; put "
            "it between spoken lines of two speakers."
        )


def comes(cues: tuple[Cue, ...], index: int) -> bool:
    """Whether what `cues[index]`, a Wait, waits for comes before the assistant's next line."""
    return find_awaited(cues, index) is not None


def find_awaited(cues: tuple[Cue, ...], index: int) -> int | None:
    """The index of the cue that brings what `cues[index]`, a Wait, waits for."""
    wait, found = cues[index], None
    assert isinstance(wait, Wait)
    for at in range(index + 1, len(cues)):
        cue = cues[at]
        if isinstance(cue, Said) and cue.speaker == "assistant":
            return found
        if found is None and _brings(cue, wait.until):
            found = at
    return None


def _brings(cue: Cue, until: str) -> bool:
    match cue:
        case Show(thing):
            return thing == until
        case Video(things):
            return until in things
        case Said("user", text, _, _):
            return f" {until} " in f" {_asked(text)} "
    return False


def unwrapped(text: str) -> str:
    """A line without the quotation marks or stars that it stands in."""
    while len(text) > 2 and (text[0], text[-1]) in (('"', '"'), ("“", "”"), ("*", "*")):
        inside = text[1:-1].strip()
        if text[0] in inside or not inside:
            break
        text = inside
    return text


def awaited(text: str) -> str:
    """What a `Wait` waits for: "the user says “Go!”" -> "go", "a cat appears" -> "cat"."""
    words = _asked(text)
    words = re.sub(r"^(?:the )?user says ", "", words)
    words = re.sub(r" (?:appears|is shown|is seen)$", "", words)
    thing = re.sub(r"^(?:an?|the|some) ", "", words)
    return thing if thing in WIDE_BY_NAME else words


def _asked(text: str) -> str:
    """The words of a text in small letters, without marks."""
    kept = "".join(c if c.isalnum() or c in "'-" else " " for c in text.lower())
    return plain(kept)
