"""POST /v1/realtime/client_secrets: a key for a browser, which expires."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from quintet.serve.api.ids import new_id
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import Settings, Strict, updated
from quintet.serve.rest.requests import Api

SHORTEST, LONGEST, USUAL = 10, 7_200, 600  # seconds until it expires
MAX_SETTINGS = 65_536  # characters of the session's settings, which are kept as long as it is


class ExpiresAfter(Strict):
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=USUAL, ge=SHORTEST, le=LONGEST)


class SecretRequest(Strict):
    expires_after: ExpiresAfter | None = None
    session: dict[str, Any] | None = None


def make_secret(api: Api, asked: SecretRequest) -> dict[str, Any]:
    """The secret, which nobody is told again, and the settings that are bound to it.

    Raises:
        RequestError: settings that no session can have or that are too long, or too many secrets.
    """
    settings = Settings(model=api.name)
    if asked.session is not None:
        if len(json.dumps(asked.session)) > MAX_SETTINGS:
            raise RequestError(
                f"The settings of a client secret may have {MAX_SETTINGS:,} characters; "
                "send the rest in session.update.", "invalid_value", "session",
            )  # fmt: skip
        settings = updated(settings, asked.session)
        settings.model = api.name  # whatever name it was asked for by
    made = api.keys.secrets.make(settings, (asked.expires_after or ExpiresAfter()).seconds)
    if made is None:
        raise RequestError(
            "Too many client secrets are valid; make one when others have expired.",
            "too_many_client_secrets", status=429,
        )  # fmt: skip
    value, ends = made
    about = {"id": new_id("sess"), "object": "realtime.session"}
    return {"value": value, "expires_at": ends, "session": about | settings.public()}
