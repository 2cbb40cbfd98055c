"""Who may use the server: keys in a file, and client secrets, of which it remembers only hashes.

A client secret is a key that expires. A program that has a key makes one for a browser, so that
its own key stays with it. It opens live sessions and nothing else, as many as begin before it
expires; sessions that have begun go on. The settings that it was made with are those that a session
of the Realtime API begins with.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from quintet.config import UserError
from quintet.serve.api.settings import Settings

SUBPROTOCOL = "openai-insecure-api-key."  # by which browsers, which set no headers, send a key
SHORTEST = 16  # characters of a key: less can be guessed
ALLOWED = re.compile(r"[A-Za-z0-9._~-]+")  # in headers, subprotocols and addresses alike
SECRET = "ek_"  # with which a client secret begins
MAX_SECRETS = 1_000  # that have not expired


class Keys:
    """The keys that open the server. None at all: everybody may enter."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._hashes = [_hash(key) for key in keys]
        self.secrets = ClientSecrets()

    @classmethod
    def read(cls, path: Path) -> Keys:
        """A file of one key a line; empty lines and those that begin with # do not count.

        Raises:
            UserError: no such file, no key in it, or one that is too short or cannot be sent.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise UserError(f"There is no file of keys {path}; check the name.") from None
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise UserError(f"{path} holds no key; write one a line.")
        if min(map(len, keys)) < SHORTEST:
            raise UserError(
                f"{path} holds a key of less than {SHORTEST} characters, which can be guessed; "
                "make longer ones."
            )
        if not all(map(ALLOWED.fullmatch, keys)):
            raise UserError(f"{path} holds a key with other characters than A-Z a-z 0-9 . _ ~ -.")
        return cls(keys)

    def allow(self, authorization: str | None) -> bool:
        """Whether a request may be answered, by its header.

        All keys are compared, each in constant time, so that the time tells nothing about them.
        """
        return not self._hashes or any([self._knows(key) for key in given(authorization)])

    def allow_session(self, authorization: str | None, subprotocols: Iterable[str]) -> bool:
        """Whether a live session may begin, by its header or, of a browser, its subprotocols: with
        a key or a client secret. One that has expired opens no server, not even an open one."""
        keys = given(authorization, subprotocols)
        if any([self.secrets.find(key) is not None for key in keys]):
            return True
        if self._hashes:
            return any([self._knows(key) for key in keys])
        return not any(key.startswith(SECRET) for key in keys)

    def settings(self, authorization: str | None, subprotocols: Iterable[str]) -> Settings | None:
        """Those of the client secret by which a session begins, if it begins by one."""
        found = [self.secrets.find(key) for key in given(authorization, subprotocols)]
        return next((secret.settings for secret in found if secret), None)

    def _knows(self, key: str) -> bool:
        hashed = _hash(key)
        return any([hmac.compare_digest(hashed, one) for one in self._hashes])


@dataclass(frozen=True)
class ClientSecret:
    """What is remembered of one."""

    hash: bytes
    expires_at: int  # seconds since 1970
    settings: Settings


class ClientSecrets:
    """Those that have not expired. A server that was started anew knows none of the old ones."""

    def __init__(self) -> None:
        self._secrets: list[ClientSecret] = []

    def __len__(self) -> int:
        return len(self._valid())

    def make(self, settings: Settings, seconds: int) -> tuple[str, int] | None:
        """A new one and when it expires; None if there are as many as there may be."""
        if len(self) >= MAX_SECRETS:
            return None
        value, ends = SECRET + secrets.token_urlsafe(32), int(time.time()) + seconds
        self._secrets.append(ClientSecret(_hash(value), ends, settings))
        return value, ends

    def find(self, value: str) -> ClientSecret | None:
        """What it stands for; None if it is unknown or has expired. In constant time, as above."""
        hashed = _hash(value)
        found = [one for one in self._valid() if hmac.compare_digest(one.hash, hashed)]
        return found[0] if found else None

    def _valid(self) -> list[ClientSecret]:
        now = time.time()
        self._secrets = [one for one in self._secrets if one.expires_at > now]
        return self._secrets


def given(authorization: str | None, subprotocols: Iterable[str] = ()) -> list[str]:
    """The keys that a request brings: two at most."""
    keys = [name.removeprefix(SUBPROTOCOL) for name in subprotocols
            if name.startswith(SUBPROTOCOL)]  # fmt: skip
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        keys.append(token.strip())
    return keys[:2]


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
