"""A session's settings: what a client may set, their defaults, and how an update merges.

An update is deep and partial: what it does not name stays. A field that does not exist rejects
the whole update. Settings that real clients send and that mean nothing here (tracing,
noise reduction, ...) are accepted and given back; `docs/realtime-api.md` lists them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quintet.serve.api import passed_settings as passed
from quintet.serve.api.problems import RequestError

MAX_TEXT = 20_000  # characters of instructions


class Strict(BaseModel):
    """A field that is not named here is an error."""

    model_config = ConfigDict(extra="forbid")


class Pcm(Strict):
    type: Literal["audio/pcm"]
    rate: Literal[24_000] = 24_000


class Mulaw(Strict):
    type: Literal["audio/pcmu"]


class Alaw(Strict):
    type: Literal["audio/pcma"]


Format = Annotated[Pcm | Mulaw | Alaw, Field(discriminator="type")]


class ServerVad(Strict):
    type: Literal["server_vad"]
    threshold: float = Field(default=0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5_000)
    silence_duration_ms: int = Field(default=500, ge=10, le=10_000)
    idle_timeout_ms: int | None = Field(default=None, ge=5_000, le=30_000)
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(Strict):
    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class Transcription(Strict):
    model: str | None = None
    language: str | None = None
    prompt: str | None = Field(default=None, max_length=MAX_TEXT)
    languages: list[str] | None = None
    keywords: list[str] | None = None
    delay: passed.Delay | None = None


class AudioInput(Strict):
    format: Format = Pcm(type="audio/pcm")
    noise_reduction: passed.NoiseReduction | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetection | None = ServerVad(type="server_vad")


class AudioOutput(Strict):
    format: Format = Pcm(type="audio/pcm")
    voice: passed.Voice = "quintet"
    speed: float = Field(default=1.0, ge=0.25, le=1.5)


class Audio(Strict):
    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class Extension(Strict):
    """What this server gives beyond the protocol, to clients that ask for it."""

    images: bool = False  # pictures that the model draws, as response.output_image events


Modalities = list[Literal["text", "audio"]]
MaxTokens = Annotated[int, Field(ge=1, le=4_096)] | Literal["inf"]


class Settings(Strict):
    """A Realtime session; `quintet` is an extension of this server."""

    type: Literal["realtime"] = "realtime"
    model: str | None = None
    output_modalities: Modalities = Field(default=["audio"], min_length=1, max_length=1)
    instructions: str = Field(default="", max_length=MAX_TEXT)
    audio: Audio = Audio()
    include: list[passed.Included] | None = None
    max_output_tokens: MaxTokens = "inf"
    prompt: passed.Prompt | None = None
    reasoning: passed.Reasoning | None = None
    tools: list[passed.Tool] = Field(default=[], max_length=128)
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool | None = None
    tracing: Literal["auto"] | passed.Tracing | None = None
    truncation: Literal["auto", "disabled"] | passed.RetentionRatio = "auto"
    quintet: Extension | None = None

    def public(self) -> dict[str, Any]:
        """As the events tell it: without what is None, except where None says something."""
        told = self.model_dump(exclude_none=True)
        told["audio"]["input"].setdefault("turn_detection", None)
        return told

    @property
    def speaks(self) -> bool:
        return "audio" in self.output_modalities


class ResponseSettings(Strict):
    """What `response.create` may set for one response."""

    audio: dict[str, Any] | None = None
    conversation: str | None = None
    input: list[dict[str, Any]] | None = Field(default=None, max_length=64)
    instructions: str | None = Field(default=None, max_length=MAX_TEXT)
    max_output_tokens: MaxTokens | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    output_modalities: Modalities | None = Field(default=None, min_length=1, max_length=1)
    parallel_tool_calls: bool | None = None
    prompt: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)


def updated(settings: Settings, update: object) -> Settings:
    """`settings` with the deep partial `update`.

    Raises:
        RequestError: no object, no `type`, an unknown field, or a value that cannot be.
    """
    if not isinstance(update, dict):
        raise RequestError("The update has no session; add one.", "missing_parameter", "session")
    if "type" not in update:
        raise RequestError(
            'The session has no type; add "type": "realtime".', "missing_parameter", "session.type"
        )
    if update["type"] != "realtime":
        raise RequestError(
            'Only sessions of the type "realtime" are served; transcripts come with '
            "audio.input.transcription.", "invalid_value", "session.type",
        )  # fmt: skip
    made: Settings = validated(Settings, merged(settings.model_dump(), update), "session")
    check_tool_choice(made.tool_choice, "session.tool_choice")
    return made


def check_tool_choice(choice: object, param: str) -> None:
    """The model calls no function: a client that needs a call is told so at once.

    Raises:
        RequestError: a call is demanded.
    """
    if choice not in (None, "auto", "none"):
        raise RequestError(
            "This model cannot call functions, so none can be required; use auto or none.",
            "unsupported_tool_choice", param,
        )  # fmt: skip


def merged(old: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """`old` with `update` laid over it; an object of another `type` takes the old one's place."""
    result = dict(old)
    for key, value in update.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            replaced = "type" in value and value["type"] != before.get("type")
            result[key] = value if replaced else merged(before, value)
        else:
            result[key] = value
    return result


def validated(kind: type[BaseModel], values: object, param: str) -> Any:
    """`values` as a model of that kind.

    Raises:
        RequestError: of the first thing that is wrong, with its place.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # A union's chosen branch stands in the path, and is no field.
        names = [str(part) for part in first["loc"] if "/" not in str(part)]
        place = ".".join([param, *(n for n in names if n not in ("server_vad", "semantic_vad"))])
        if first["type"] == "extra_forbidden":
            raise RequestError(
                f"Unknown parameter: '{place}'; leave it out.", "unknown_parameter", place
            ) from None
        raise RequestError(
            f"Invalid value for '{place}': {first['msg'].lower()}; send another.",
            "invalid_value", place,
        ) from None  # fmt: skip
