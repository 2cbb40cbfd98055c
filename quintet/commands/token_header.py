"""What token files say of their codes, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quintet.config import UserError

FORMAT_VERSION = "1"


@dataclass(frozen=True)
class Header:
    """The metadata of a file."""

    metadata: dict[str, str]
    path: Path

    def check_version(self) -> None:
        version = self.metadata.get("format_version")
        if version is None:
            raise self.contradiction("it has no format_version")
        if version != FORMAT_VERSION:
            raise UserError(
                f"{self.path} is of a format version that this Quintet does not know; install a "
                "newer one."
            )

    def number(self, key: str) -> int | None:
        """The whole number under `key`; None if the file is silent on it."""
        value = self.metadata.get(key)
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) <= 12):
            raise self.contradiction(f"{key} is {value[:20]!r}")
        return int(value)

    def contradiction(self, what: str) -> UserError:
        return UserError(f"The header of {self.path} cannot be right ({what}); encode it again.")


def foreign(path: Path, metadata: dict[str, str]) -> UserError:
    name = "".join(filter(str.isprintable, metadata.get("model", "")))[:80]
    named = f", which the file calls {name!r}" if name else ""
    return UserError(
        f"{path} holds tokens of another model; decode it with the model that encoded it{named} "
        "(--model)."
    )


def smallest_type(codebook_size: int) -> type[np.integer]:
    """The smallest type that holds every code."""
    if codebook_size <= 2**8:
        return np.uint8
    return np.uint16 if codebook_size <= 2**16 else np.int32
