"""Whether a script is true to what it shows: a model writes the right form more easily than the
right answer."""

from __future__ import annotations

import re

from quintet.data.world.script import Draw, Said, Script, Show, Video
from quintet.data.world.wide_things import WIDE_BY_NAME

_NAMES = "|".join(map(re.escape, sorted(WIDE_BY_NAME, key=len, reverse=True)))
_NAMED = re.compile(
    r"\b(?:this is|here is|there is|i see|both show) (?:an? |some |the )?"
    rf"(?P<thing>{_NAMES})\b",
    re.IGNORECASE,
)


def unseen_thing(script: Script) -> str:
    """The first thing that the assistant says to see, or to have drawn, and that is neither shown
    nor drawn before; "" if there is none."""
    seen: set[str] = set()
    for cue in script.cues:
        match cue:
            case Show(thing) | Draw(thing):
                seen.add(thing)
            case Video(things):
                seen.update(things)
            case Said("assistant", text):
                for named in _NAMED.finditer(text):
                    if (thing := named["thing"].lower()) not in seen:
                        return thing
    return ""
