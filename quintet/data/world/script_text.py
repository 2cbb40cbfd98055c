"""The text of a script -> the script. What is safely repaired is; the rest is refused.

Language models write almost the right thing: every repair has a name, and whoever asks gets the
names of those that were made.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from quintet.config import UserError
from quintet.data.world.script import (
    LANGUAGES,
    MAX_SECONDS,
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
    awaited,
    plain,
    unwrapped,
)
from quintet.data.world.wide_things import WIDE_BY_NAME

MAX_TEXT = 20_000  # characters of a script; more is not read
MAX_LINES = 400  # with those that are repaired away
# Every repair, and what it does.
REPAIRS = {
    "fence": "a line of ``` is left out",
    "remark": "remarks before the first cue and after the last are left out",
    "markup": "stars, list marks and quotation marks around a line are left out",
    "spaces": "spaces and control characters become single spaces",
    "bracket": "a mark in parentheses or with an open bracket gets its brackets",
    "speaker": "names such as Human, AI or Bystander become those of the roles",
    "unit": "units of seconds, colons and equals signs in marks are left out",
    "seconds": f"a mark of 0 or of more than {MAX_SECONDS:g} seconds is brought into the range",
    "article": "articles, capitals and plurals of things are left out",
    "draw": "a drawing after the line that it belongs to is put before it",
    "overlap": "an overlap that stands between no two speakers is left out",
}
SPEAKER_NAMES = {
    "human": "user", "person": "user", "caller": "user", "speaker": "user", "customer": "user",
    "ai": "assistant", "bot": "assistant", "model": "assistant", "agent": "assistant",
    "bystander": "other", "someone": "other", "someone else": "other", "stranger": "other",
    "another person": "other", "others": "other",
}  # fmt: skip
_HEADER = re.compile(
    r"(?P<speaker>[A-Za-z]+(?: (?:else|person))?)(?P<way> (?:says|types|writes))?"
    r"(?: in (?P<language>[A-Za-z]+))?\s*:\s*(?P<text>.*)"
)
_SECONDS = re.compile(r"(?:for )?(\d{1,6}(?:\.\d{1,6})?)")
_LEAST = 0.25  # seconds that a mark of 0 gets


def parse(text: str, repairs: list[str] | None = None) -> Script:
    """The script that `text` holds; `parse(script.write()) == script`, with no repair.

    Args:
        repairs: gets the names of the repairs (of `REPAIRS`) that were made, in order.

    Raises:
        UserError: it holds none, with one sentence that says what is wrong first.
    """
    made: list[str] = [] if repairs is None else repairs
    if len(text) > MAX_TEXT or text.count("\n") > MAX_LINES:
        raise UserError(
            f"A script's text has at most {MAX_TEXT:,} characters and {MAX_LINES} lines; "
            "shorten it."
        )
    title, cues = "", list[Cue]()
    remarks = 0  # since the last cue: fine before the first and after the last
    for number, raw in enumerate(text.splitlines(), 1):
        line = _clean(raw, made)
        if not line:
            continue
        if not cues and not title and line.lower().startswith("title:"):
            title = line[6:].strip()
            remarks = 0
            continue
        cue = _cue(line, number, made)
        if cue is None:
            remarks += 1
            if remarks == 1 and cues:
                first_remark = number, line
            continue
        if remarks and cues:
            number, line = first_remark
            raise UserError(
                f"Line {number} of the script, {line[:40]!r}, is no cue; write SPEAKER: TEXT or "
                "[MARK]."
            )
        if remarks:
            made.append("remark")
        remarks = 0
        cues.append(cue)
    if remarks and cues:
        made.append("remark")
    return Script(title, tuple(_ordered(cues, made)))


def _repaired(before: str, after: str, name: str, made: list[str]) -> str:
    if before != after:
        made.append(name)
    return after


def _clean(raw: str, made: list[str]) -> str:
    line = plain(raw)
    if line.startswith("```"):
        made.append("fence")
        return ""
    if line != raw:
        made.append("spaces")
    return line


def _unmarked(line: str) -> str:
    """A line without list marks before it and stars in its head."""
    line = re.sub(r"^(?:[-*•>] |\d{1,3}[.)] |#+ )+", "", line)
    head, colon, rest = line.partition(":")
    if colon and "*" in head:
        return head.replace("*", "") + colon + re.sub(r"^\*+ *", " ", rest)
    if line.startswith(("*", "_")) and line.endswith(line[0]):
        return line.strip(line[0])
    return line


def _cue(line: str, number: int, made: list[str]) -> Cue | None:
    """The cue of a line; None where it is none."""
    bare = _unmarked(line)
    mark = bare
    if bare.startswith("(") or (bare.startswith("[") and not bare.endswith("]")):
        mark = "[" + bare.strip("()[]. ") + "]"
    if mark.startswith("[") and mark.endswith("]"):
        found = _mark(mark[1:-1], number, made)
        if found is not None:
            _repaired(line, bare, "markup", made)
            _repaired(bare, mark, "bracket", made)
        return found
    header = _HEADER.fullmatch(bare)
    if header is None:
        return None
    said = _said(header, made)
    if said is not None:
        _repaired(line, bare, "markup", made)
    return said


def _said(header: re.Match[str], made: list[str]) -> Said | None:
    name = header["speaker"].lower()
    speaker = SPEAKER_NAMES.get(name, name)
    if speaker not in WAYS:
        return None
    _repaired(header["speaker"], speaker, "speaker", made)
    text = header["text"].strip()
    unquoted = unwrapped(text)
    language = header["language"] or "English"
    if language not in LANGUAGES and language.capitalize() in LANGUAGES:
        language = _repaired(language, language.capitalize(), "speaker", made)
    way = (header["way"] or " says").strip()
    return Said(speaker, _repaired(text, unquoted, "markup", made), way, language)


def _mark(inside: str, number: int, made: list[str]) -> Cue | None:
    """The cue of a mark; None where its first word is no mark's."""
    tidy = re.sub(r"^(\w+)\s*[:=]\s*", r"\1 ", inside.strip())
    word, _, rest = tidy.partition(" ")
    kind = word.lower()
    if kind not in _MARKS:
        return None
    if tidy != inside or kind != word:
        made.append("unit")
    try:
        return _MARKS[kind](rest.strip(), made)
    except ValueError:
        raise UserError(
            f"Line {number} of the script, '[{inside[:40]}]', is no mark of its kind; write for "
            f"example {_EXAMPLES[kind]}."
        ) from None


def _length(text: str, made: list[str]) -> float:
    """Seconds; whatever follows the number is a unit.

    Raises:
        ValueError: there is no number.
    """
    bare = re.sub(r" ?(?:s|sec|secs|second|seconds)\.?$", "", text)
    found = _SECONDS.fullmatch(bare)
    if found is None:
        raise ValueError
    if found[1] != text:
        made.append("unit")
    value = round(float(found[1]), 3)
    within = min(max(value, _LEAST), MAX_SECONDS) if value <= 0 or value > MAX_SECONDS else value
    if within != value:
        made.append("seconds")
    return within


def _thing(text: str, made: list[str]) -> str:
    """The name of a thing, which `Script` then checks."""
    if text in WIDE_BY_NAME:
        return text
    bare = re.sub(r"^(?:(?:an?|the|some|picture of) )+", "", text.lower().strip(" .\"'"))
    for name in (bare, bare.removesuffix("s"), bare.removesuffix("es"), bare + "s"):
        if name in WIDE_BY_NAME:
            made.append("article")
            return name
    return text


def _video(text: str, made: list[str]) -> Video:
    things, found, length = text.rpartition(" for ")
    if not found:
        raise ValueError
    names = re.split(r", and | and |, ?|; ?| then ", things)
    if ", ".join(names) != things:
        made.append("article")
    return Video(tuple(_thing(name, made) for name in names), _length(length, made))


def _wait(text: str, made: list[str]) -> Wait:
    if not text.lower().startswith("until "):
        raise ValueError
    until = text[6:].strip()
    return Wait(_repaired(until, awaited(until), "article", made))


_MARKS: dict[str, Callable[[str, list[str]], Cue]] = {
    "show": lambda text, made: Show(_thing(text, made)),
    "draw": lambda text, made: Draw(_thing(text, made)),
    "video": _video,
    "pause": lambda text, made: Pause(_length(text, made)),
    "overlap": lambda text, made: Overlap(_length(text, made)),
    "interrupt": lambda text, made: Interrupt(_length(text, made)),
    "silence": lambda text, made: Silence(_length(text, made)),
    "wait": _wait,
    "intent": lambda text, made: Intent(text),
}
_EXAMPLES = {
    "show": "[show cat]", "draw": "[draw cat]", "video": "[video dog, cat for 4]",
    "pause": "[pause 1.5]", "overlap": "[overlap 0.5]", "interrupt": "[interrupt 0.8]",
    "silence": "[silence 2]", "wait": "[wait until cat]", "intent": "[intent count with me]",
}  # fmt: skip


def _ordered(cues: list[Cue], made: list[str]) -> list[Cue]:
    """The cues with drawings before their lines, and overlaps only where two people speak."""
    cues = list(cues)
    for index in range(1, len(cues)):
        cue, before = cues[index], cues[index - 1]
        after = cues[index + 1] if index + 1 < len(cues) else None
        has_line = isinstance(after, Said) and after.speaker == "assistant"
        follows = isinstance(before, Said) and before.speaker == "assistant"
        drawn = index > 1 and isinstance(cues[index - 2], Draw)
        if isinstance(cue, Draw) and follows and not has_line and not drawn:
            cues[index - 1], cues[index] = cue, before
            made.append("draw")
    kept: list[Cue] = []
    for index, cue in enumerate(cues):
        if isinstance(cue, Overlap):
            around = (*kept[-1:], *cues[index + 1 : index + 2])
            lines = [one for one in around if isinstance(one, Said) and one.way == "says"]
            if len(lines) < 2 or lines[0].speaker == lines[1].speaker:
                made.append("overlap")
                continue
        kept.append(cue)
    return kept
