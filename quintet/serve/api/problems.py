"""What a client did wrong, in the words of these APIs: a type, a code, a sentence."""

from __future__ import annotations

from typing import Any

INVALID = "invalid_request_error"


class RequestError(Exception):
    """A request that is refused; the session goes on.

    Args:
        message: one sentence with the remedy.
        code: a word for programs.
        param: the field that is wrong.
        status: of the answer, where the request came over HTTP.
    """

    def __init__(
        self,
        message: str,
        code: str | None = None,
        param: str | None = None,
        status: int = 400,
        kind: str = INVALID,
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.param = message, code, param
        self.status, self.kind = status, kind

    def body(self) -> dict[str, Any]:
        """The error as all of these APIs write it."""
        return {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code
        }  # fmt: skip
