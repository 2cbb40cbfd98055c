"""Tar files: WebDataset shards, and archives in which other sources find their pictures.

Only headers are read to know what lies where. Of a WebDataset shard, members whose names are the
same up to the first dot are one document: its pictures, then its sound, then its text; or a record
(.json) that says by itself how texts and images follow one another.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from quintet.config import UserError, counted
from quintet.data.sources.document import Blob, Document, Found, Part, Picture, Sound
from quintet.data.sources.records import document_of, is_interleaved
from quintet.media.audio import SUFFIXES as SOUNDS
from quintet.media.images import SUFFIXES as PICTURES

SUFFIX = ".tar"
TEXTS, RECORD = (".txt", ".md", ".caption"), ".json"
MAX_TEXT_BYTES = 16_000_000  # of one text or record
BLOCK = 512  # bytes, to a multiple of which tar fills everything


def members(path: Path) -> tuple[dict[str, Blob], str | None]:
    """The files in a tar by their names, and what is wrong with it, if anything is.

    Raises:
        UserError: it is no tar, or a compressed one, in which nothing can be found in any order.
    """
    found: dict[str, Blob] = {}
    whole, end = path.stat().st_size, 0
    try:
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would remember all of them
                if tar.offset <= end:  # a size below zero would lead round in a circle
                    raise tarfile.ReadError("it leads back")
                end = tar.offset  # of the next header: folders and links have no data
                if not member.isreg() or member.sparse is not None:
                    continue
                if member.offset_data + member.size > whole:
                    break
                blob = Blob(f"{path}/{member.name}", member.size, path, member.offset_data)
                found[member.name.removeprefix("./")] = blob
    except (tarfile.TarError, ValueError, OverflowError):  # of numbers that are no places, too
        if not found:
            raise UserError(
                f"{path} is no tar file, or a compressed one; unpack it, or write a plain .tar."
            ) from None
        return found, f"damaged after {counted(len(found), 'file')}"
    return found, None if _ends_well(path, end) else f"cut off after {counted(len(found), 'file')}"


def _ends_well(path: Path, end: int) -> bool:
    """Behind the last file there is nothing, or a block of zeros; else the reader stopped early."""
    if end > path.stat().st_size:  # by so much, perhaps, that it is no place in any file
        return False
    with path.open("rb") as file:
        file.seek(end)
        return not any(file.read(BLOCK))


@dataclass(frozen=True)
class _Index:
    """What lies where in a shard: members of each document, by what follows their common name."""

    keys: list[str]
    groups: list[dict[str, Blob]]
    left_out: list[str]
    wrong: str | None


@lru_cache(maxsize=2)  # of thousands of shards, a process reads one after another
def _index(path: Path) -> _Index:
    blobs, wrong = members(path)
    groups: dict[str, dict[str, Blob]] = {}
    left_out: list[str] = []
    for member, blob in blobs.items():
        place = PurePosixPath(member)
        stem, dot, rest = place.name.partition(".")
        suffix = place.suffix.lower()
        if suffix in (*PICTURES, *SOUNDS, *TEXTS, RECORD):
            groups.setdefault(str(place.parent / stem), {})[dot + rest] = blob
        else:
            left_out.append(suffix or place.name)
    return _Index(list(groups), list(groups.values()), left_out, wrong)


class WebDataset:
    """The documents of one tar."""

    def __init__(self, path: Path, found: Found) -> None:
        self.path, index = path, _index(path)
        if index.wrong is not None:
            found.damage(str(path), index.wrong)
        for suffix in index.left_out:
            found.leave_out(suffix)
        sizes = [sum(blob.size for blob in group.values()) for group in index.groups]
        self.sizes = np.array(sizes, np.int64)

    def name(self, index: int) -> str:
        return f"{self.path}/{_index(self.path).keys[index]}"

    def read(self, index: int) -> Document:
        key, group = _index(self.path).keys[index], _index(self.path).groups[index]
        name, record = self.name(index), _record(group)
        if is_interleaved(record):

            def find(wanted: str) -> Blob | None:
                """A member of this document, by its whole name or by what follows the key."""
                stem, _, rest = PurePosixPath(wanted).name.partition(".")
                own = stem == PurePosixPath(key).name
                return group.get(f".{wanted}", group.get(f".{rest}") if own else None)

            return document_of(record, name, find)
        parts: list[Part] = []
        by_suffix = sorted(group.items())
        parts += [Picture(blob) for end, blob in by_suffix if _ends(end, PICTURES)]
        parts += [Sound(blob) for end, blob in by_suffix if _ends(end, SOUNDS)]
        texts = [blob for end, blob in by_suffix if _ends(end, TEXTS)]
        parts += [text_of(blob) for blob in texts]
        if not texts and record is not None:
            parts += document_of({"text": _caption(record)}, name, lambda wanted: None).parts
        return Document(name, tuple(parts))


def _record(group: dict[str, Blob]) -> Any:
    blob = next((blob for end, blob in sorted(group.items()) if _ends(end, (RECORD,))), None)
    if blob is None:
        return None
    try:
        return json.loads(blob.read(MAX_TEXT_BYTES))
    except UserError:
        raise
    except (ValueError, RecursionError):
        raise UserError(f"{blob.name} is not JSON; write it again.") from None


def _caption(record: Any) -> Any:
    return record.get("text") or record.get("caption") if isinstance(record, dict) else None


def _ends(name: str, suffixes: tuple[str, ...]) -> bool:
    return PurePosixPath("x" + name).suffix.lower() in suffixes


def text_of(blob: Blob) -> str:
    """The text of UTF-8 bytes.

    Raises:
        UserError: they are something else, or too many.
    """
    try:
        return blob.read(MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{blob.name} is not UTF-8 text; convert it.") from None
