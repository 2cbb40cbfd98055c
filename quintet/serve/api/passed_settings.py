"""Settings that real clients send and that mean nothing here: their form alone is checked.

They are given back in the session's events, whose types clients check, so none may have another
form than the API has. Fields that are not named here are kept where clients add their own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Passed(BaseModel):
    model_config = ConfigDict(extra="allow")


class NoiseReduction(Passed):
    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class CustomVoice(Passed):
    id: str


class Prompt(Passed):
    id: str
    variables: dict[str, str] | None = None
    version: str | None = None


class Reasoning(Passed):
    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class Tracing(Passed):
    group_id: str | None = None
    metadata: dict[str, Any] | None = None
    workflow_name: str | None = None


class TokenLimits(Passed):
    post_instructions: int | None = None


class RetentionRatio(Passed):
    type: Literal["retention_ratio"]
    retention_ratio: float
    token_limits: TokenLimits | None = None


class FunctionTool(Passed):
    type: Literal["function"]
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolServer(BaseModel):
    """Of which no more is kept: its credentials are nobody's business, and it is never called."""

    type: Literal["mcp"]
    server_label: str
    server_url: str | None = None


Tool = Annotated[FunctionTool | ToolServer, Field(discriminator="type")]
Included = Literal["item.input_audio_transcription.logprobs"]
Delay = Literal["minimal", "low", "medium", "high", "xhigh"]
Voice = str | CustomVoice
