"""Requests to an OpenAI-compatible endpoint: bounded in size, in time and in tries."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlsplit

from quintet.config import UserError

MAX_BYTES = 64 << 20  # of an answer
TIMEOUT = 60.0  # seconds to the next byte of an answer
TOTAL = 300.0  # seconds of one answer in all
TRIES = 3  # where the endpoint is busy or the connection breaks
BUSY = {408, 409, 425, 429, 500, 502, 503, 504}
WAIT = 1.0  # seconds before the second try


class Endpoint:
    """Where a language model or a voice is served.

    Args:
        url: what comes before the path of a request, such as "http://127.0.0.1:8000/v1".
        key: sent as a bearer token; "" for none.
        wait: seconds before the second try; each later one waits twice as long.

    Raises:
        UserError: `url` is no address of HTTP, or holds a name and password.
    """

    def __init__(self, url: str, key: str = "", wait: float = WAIT) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise UserError(
                "An endpoint is an address such as http://127.0.0.1:8000/v1, without a name or "
                "password in it; the key stands in the environment."
            )
        self.url, self.wait = url.rstrip("/"), wait
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client: Any = None  # made with the first request, and kept

    def post_json(self, path: str, body: dict[str, Any]) -> Any:
        """What the endpoint answers to `body`, as JSON.

        Raises:
            UserError: as `post`, or it is no JSON.
        """
        content = self.post(path, body)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise UserError(f"{self.url} answered something else than JSON; check it.") from None

    def post(self, path: str, body: dict[str, Any]) -> bytes:
        """What the endpoint answers to `body`.

        Raises:
            UserError: it cannot be reached, refuses, or answers too much or too slowly.
        """
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(self.wait * 2 ** (attempt - 1))
            status, content = self._try(path, body)
            if status == 200:
                return content
            reason = content.decode(errors="replace") if status == 0 else f"status {status}"
            if status and status not in BUSY:
                break
        raise UserError(
            f"{self.url} gave no answer ({reason}); check the address, the model and the key."
        )

    def _try(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and content of one try; 0 and the reason where there was none."""
        try:
            import httpx
        except ImportError:
            raise UserError("Endpoints need httpx; install it: pip install httpx.") from None
        if self._client is None:
            self._client = httpx.Client(timeout=TIMEOUT, follow_redirects=False)
        until, content = time.monotonic() + TOTAL, bytearray()
        url = f"{self.url}/{path}"
        try:
            with self._client.stream("POST", url, json=body, headers=self._headers) as reply:
                if reply.status_code != 200:  # what it says may hold the key, and is not read
                    return reply.status_code, b""
                for block in reply.iter_bytes():
                    content += block
                    if len(content) > MAX_BYTES or time.monotonic() > until:
                        raise UserError(f"{self.url} answers without end; name another endpoint.")
        except httpx.HTTPError as error:
            return 0, type(error).__name__.encode()
        return 200, bytes(content)
