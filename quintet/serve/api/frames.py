"""JSON of a client: bounded before it is parsed, and frames at a bounded pace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from quintet.serve.api.problems import RequestError
from quintet.serve.protocol import MAX_FRAME

LONG = 262_144  # characters; only sound and pictures need more
STRUCTURE, STRUCTURE_MAX = "[{,", 50_000  # a long text has fewer: parsing many holds up all
DEEPEST = 64  # objects in objects
FRAMES_PER_SECOND, FRAMES_AT_ONCE = 200, 1_000
BYTES_PER_SECOND, BYTES_AT_ONCE = 4 * 2**20, 4 * MAX_FRAME


def parse_frame(message: Mapping[str, Any]) -> dict[str, Any]:
    """The event in a WebSocket's message.

    Raises:
        RequestError: it is none.
    """
    text = message.get("text")
    if text is None:
        raise RequestError("Events are JSON in text frames; send no binary ones.", "invalid_event")
    event = parse_json(text)
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise RequestError(
            "The event has no type; send an object with one.", "missing_parameter", "type"
        )
    return event


def parse_json(text: str) -> Any:
    """What `text` says, if it is neither made of too many parts nor nested too deeply.

    Raises:
        RequestError: it is not JSON, or one of these.
    """
    if len(text) > LONG and sum(map(text.count, STRUCTURE)) > STRUCTURE_MAX:
        raise RequestError(
            f"Only sound and pictures may have more than {LONG:,} characters; send less.",
            "invalid_json",
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # deep nesting exhausts the stack of the parser
        raise RequestError("The message is not JSON; send an object.", "invalid_json") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise RequestError("The message is nested too deeply; flatten it.", "invalid_json")


def _inside(value: Any) -> list[Any]:
    """The objects and lists in one."""
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [one for one in held if isinstance(one, dict | list)]


def client_id(event: dict[str, Any]) -> str | None:
    """The id that the client gave its event, for errors to name it."""
    value = event.get("event_id")
    return value[:512] if isinstance(value, str) else None


class Pace:
    """Lets a client send much at once, but not for long: then its frames wait in the network."""

    def __init__(self) -> None:
        self._frames, self._bytes = float(FRAMES_AT_ONCE), float(BYTES_AT_ONCE)
        self._time = 0.0

    async def take(self, message: Mapping[str, Any]) -> None:
        """Count a message, and wait where it came too soon."""
        now = asyncio.get_running_loop().time()
        passed, self._time = now - self._time, now
        size = len(message.get("text") or message.get("bytes") or "")
        self._frames = min(FRAMES_AT_ONCE, self._frames + passed * FRAMES_PER_SECOND) - 1
        self._bytes = min(BYTES_AT_ONCE, self._bytes + passed * BYTES_PER_SECOND) - size
        wait = max(-self._frames / FRAMES_PER_SECOND, -self._bytes / BYTES_PER_SECOND)
        if wait > 0:
            await asyncio.sleep(wait)
