"""Who may use the server: keys in a file, of which the server remembers only hashes."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path

from quintet.config import UserError

SUBPROTOCOL = "openai-insecure-api-key."  # by which browsers, which set no headers, send a key
SHORTEST = 16  # characters of a key: less can be guessed
ALLOWED = re.compile(r"[A-Za-z0-9._~-]+")  # in headers, subprotocols and addresses alike


class Keys:
    """The keys that open the server. None at all: everybody may enter."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._hashes = [_hash(key) for key in keys]

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

    def allow(self, authorization: str | None, subprotocols: Iterable[str] = ()) -> bool:
        """Whether a request may enter, by its header or, of a browser's socket, its subprotocols.

        All keys are compared, each in constant time, so that the time tells nothing about them.
        """
        if not self._hashes:
            return True
        given = [name.removeprefix(SUBPROTOCOL) for name in subprotocols
                 if name.startswith(SUBPROTOCOL)]  # fmt: skip
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            given.append(token.strip())
        hashes = [_hash(key) for key in given[:2]]
        return any([hmac.compare_digest(one, key) for one in hashes for key in self._hashes])


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
