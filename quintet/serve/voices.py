"""The voices that a model can answer in, by name: its own, which is always there, and others.

Clients of other servers name voices that no model here has ("alloy"): these mean its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np

from quintet.live.speakers import OWN_VOICE


class Voiced(Protocol):
    """What has voices, such as `quintet.live.Quintet`."""

    @property
    def voices(self) -> Mapping[str, np.ndarray]: ...


def voice_names(model: Voiced) -> list[str]:
    """All of them, the model's own first."""
    return [OWN_VOICE, *(name for name in model.voices if name != OWN_VOICE)]


def known_voice(wanted: Any, model: Voiced) -> str | None:
    """The name of another's voice that `model` has; None means its own.

    Never anything else: what comes from a client is looked up here and opens no file.

    Args:
        wanted: a name, an object with the name as its `id`, or None.
    """
    name = getattr(wanted, "id", wanted)
    is_known = isinstance(name, str) and name != OWN_VOICE and name in model.voices
    return name if is_known else None


def voice_header(wanted: Any, model: Voiced) -> dict[str, str]:
    """The header that tells in which voice an answer is spoken, for `wanted` as `known_voice`."""
    return {"Quintet-Voice": quote(known_voice(wanted, model) or OWN_VOICE)}


def speaker_of(voice: str | None, model: Voiced) -> np.ndarray | None:
    """Codes [N, Q] of a voice; None of the model's own, and of one that it has not."""
    name = known_voice(voice, model)
    return None if name is None else model.voices[name]
