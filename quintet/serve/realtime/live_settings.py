"""What a client of the Live API may set when it starts a session, and later."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from quintet.serve.api.passed_settings import Voice
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import MAX_TEXT, Strict, validated

MAX_CONTENT = 2_000  # characters of what is appended to a session


class Pcm(Strict):
    type: Literal["audio/pcm"]
    rate: Literal[16_000, 24_000] = 24_000


class Mulaw(Strict):
    type: Literal["audio/pcmu"]
    rate: Literal[8_000] = 8_000


class Alaw(Strict):
    type: Literal["audio/pcma"]
    rate: Literal[8_000] = 8_000


class LiveOutput(Strict):
    voice: Voice = "quintet"


class LiveAudio(Strict):
    format: Annotated[Pcm | Mulaw | Alaw, Field(discriminator="type")] = Pcm(type="audio/pcm")
    output: LiveOutput = LiveOutput()


class Delegation(Strict):
    type: Literal["client"]
    acknowledgement_delay_ms: int | None = Field(default=None, ge=0)


class LiveSettings(Strict):
    """A Live session."""

    model: str
    audio: LiveAudio = LiveAudio()
    client: dict[str, Any] | None = None
    delegation: Delegation | None = None
    input: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    instructions: str | None = Field(default=None, max_length=MAX_TEXT)
    safety_identifier: str | None = Field(default=None, max_length=512)
    store: bool | None = None
    triggers: list[dict[str, Any]] | None = Field(default=None, max_length=32)


def started(session: object) -> LiveSettings:
    """The settings of `session.start`.

    Raises:
        RequestError: an unknown field, a value that cannot be, or a delegation that needs tools.
    """
    if not isinstance(session, dict):
        raise RequestError("The event has no session; add one.", "missing_parameter", "session")
    check_delegation(session.get("delegation"))
    made: LiveSettings = validated(LiveSettings, session, "session")
    return made


def updated(settings: LiveSettings, session: object) -> LiveSettings:
    """The settings after `session.update`, which may change `delegation` and `triggers` alone.

    Raises:
        RequestError: as `started`.
    """
    if not isinstance(session, dict):
        raise RequestError("The event has no session; add one.", "missing_parameter", "session")
    for name in session:
        if name not in ("delegation", "triggers"):
            raise RequestError(
                f"'{name}' is fixed when a session starts; start another one.",
                "unknown_parameter", f"session.{name}",
            )  # fmt: skip
    check_delegation(session.get("delegation"))
    made: LiveSettings = validated(LiveSettings, settings.model_dump() | session, "session")
    return made


def check_delegation(delegation: object) -> None:
    """Only a client can do what is delegated: no tools run here.

    Raises:
        RequestError: another kind is asked for.
    """
    kind = delegation.get("type") if isinstance(delegation, dict) else None
    if kind in ("responses", "decisions"):
        raise RequestError(
            f"This server runs no tools, so it has no delegation {kind!r}; use client or null.",
            "unsupported_delegation", "session.delegation.type",
        )  # fmt: skip
