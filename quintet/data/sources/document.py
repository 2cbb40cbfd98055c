"""What every source gives: documents of text, pictures and sound, whose bytes are read late."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from quintet.config import UserError


@dataclass(frozen=True)
class Blob:
    """Bytes of a file, or of a part of one, or in memory; nothing is read before it is asked for.

    `name` is what messages call them. With `path`, they are the `size` bytes from `start` on.
    """

    name: str
    size: int
    path: Path | None = None
    start: int = 0
    data: bytes = b""

    @classmethod
    def of_file(cls, path: Path) -> Blob:
        return cls(str(path), path.stat().st_size, path)

    @classmethod
    def of_bytes(cls, data: bytes, name: str) -> Blob:
        return cls(name, len(data), data=data)

    def open(self) -> IO[bytes]:
        """The bytes as a file that can seek."""
        if self.path is None:
            return io.BytesIO(self.data)
        return io.BufferedReader(_Part(self.path, self.start, self.size))

    def read(self, most: int) -> bytes:
        """All of them.

        Raises:
            UserError: there are more than `most`, or fewer than there should be.
        """
        if self.size > most:
            raise UserError(f"{self.name} has {self.size:,} bytes; make it {most:,} or less.")
        with self.open() as file:
            data = file.read()
        if len(data) < self.size:
            raise UserError(f"{self.name} is cut off; restore it.")
        return data


class _Part(io.RawIOBase):
    """Some bytes of a file, as a file of their own."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._start, self._size, self._at = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(view) if len(view) else 0
        self._at += count or 0
        return count or 0

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True)
class Picture:
    blob: Blob


@dataclass(frozen=True)
class Sound:
    blob: Blob


Part = str | Picture | Sound


@dataclass(frozen=True)
class Document:
    """Parts in the order in which they are read; `name` says where it came from."""

    name: str
    parts: tuple[Part, ...]
    missing_pictures: int = 0  # known by an address or a name that leads nowhere


class Source(Protocol):
    """Documents that can be read in any order, by number."""

    @property
    def sizes(self) -> np.ndarray:
        """About how many bytes each document has, int64 [D]: how the work is divided."""

    def name(self, index: int) -> str:
        """What messages call a document, without reading it."""

    def read(self, index: int) -> Document:
        """One document.

        Raises:
            UserError: it is damaged, or not of the form that the source has.
        """


class NotInstalled(UserError):
    """What reads a form of data is missing, which no reading of other files makes good."""


@dataclass
class Found:
    """What looking through a source came upon beside its documents."""

    damaged: list[dict[str, str]] = field(default_factory=list)  # whole files: name and why
    left_out: dict[str, int] = field(default_factory=dict)  # of no known kind, by their suffix

    def leave_out(self, suffix: str) -> None:
        self.left_out[suffix] = self.left_out.get(suffix, 0) + 1

    def damage(self, name: str, why: str) -> None:
        self.damaged.append({"name": name, "why": why})
