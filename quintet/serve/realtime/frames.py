"""JSON frames of a client: bounded before they are parsed, and at a bounded pace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from quintet.serve.protocol import MAX_FRAME
from quintet.serve.realtime.problems import RequestError

LONG = 262_144  # characters; only sound and pictures need more
STRUCTURE, STRUCTURE_MAX = "[{,", 200  # a long frame has fewer: parsing many holds up everybody
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
    if len(text) > LONG and sum(map(text.count, STRUCTURE)) > STRUCTURE_MAX:
        raise RequestError(
            f"Only sound and pictures may have more than {LONG:,} characters; send less.",
            "invalid_event",
        )
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):  # deep nesting exhausts the stack of the parser
        raise RequestError("The message is not JSON; send an event.", "invalid_json") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise RequestError(
            "The event has no type; send an object with one.", "missing_parameter", "type"
        )
    return event


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
