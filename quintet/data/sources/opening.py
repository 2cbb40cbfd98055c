"""What a person names as their data -> its documents: a file of any known form, or a folder of
such files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quintet.config import UserError
from quintet.data.sources import files, json_lines, parquet, tars
from quintet.data.sources.document import Document, Found, NotInstalled, Source
from quintet.data.sources.files import Files
from quintet.data.sources.json_lines import JsonLines
from quintet.data.sources.parquet import Parquet
from quintet.data.sources.tars import WebDataset

# What reads a file of many documents, by its suffix; the others are documents themselves.
READERS: dict[str, Callable[[Path, Found], Source]] = {
    **dict.fromkeys(json_lines.SUFFIXES, JsonLines),
    parquet.SUFFIX: Parquet,
    tars.SUFFIX: WebDataset,
}
KNOWN = (*files.SUFFIXES, *READERS)


class Documents:
    """All documents of a place, by number, in the order of the names of their files."""

    def __init__(self, place: Path) -> None:
        self.found = Found()
        self._place, sizes = place, _paths(place)
        known = {path: size for path, size in sizes.items() if path.suffix.lower() in KNOWN}
        for path in set(sizes) - set(known):
            self.found.leave_out(path.suffix.lower() or path.name)
        beside = {p.with_suffix("") for p in known if p.suffix.lower() in json_lines.SUFFIXES}
        self._sources: list[Source] = []
        for path in known:
            reader = READERS.get(path.suffix.lower())
            # A tar with the name of a file of JSON lines holds its pictures.
            if reader is None or (reader is WebDataset and path.with_suffix("") in beside):
                continue
            self._open(reader, path)
        self._sources.append(
            Files({p: size for p, size in known.items() if p.suffix.lower() in files.SUFFIXES})
        )
        self._ends = np.cumsum([len(source.sizes) for source in self._sources], dtype=np.int64)
        self.sizes = np.concatenate([source.sizes for source in self._sources])
        self.fingerprint = _fingerprint(place, known)
        if not len(self.sizes):
            raise UserError(
                f"{place} holds no documents; give files that end in one of: {', '.join(KNOWN)}."
            )

    def _open(self, reader: Callable[[Path, Found], Source], path: Path) -> None:
        try:
            self._sources.append(reader(path, self.found))
        except NotInstalled:
            raise
        except UserError as error:
            self.found.damage(str(path), str(error))
        except (FileNotFoundError, PermissionError) as error:
            self.found.damage(str(path), told(error))

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, index: int) -> str:
        source, inner = self._find(index)
        return source.name(inner)

    def read(self, index: int) -> Document:
        """One document; reading any number of them, in any order, changes nothing.

        Raises:
            UserError: it is damaged, or not of the form that its source has.
            OSError: its file is gone, or closed to us; see `are_there`. Or the machine fails.
        """
        source, inner = self._find(index)
        return source.read(inner)

    def are_there(self) -> bool:
        """Whether the source is seen at all: one file that cannot be read is its own fault, a
        source of which there is nothing that of the machine.

        Raises:
            OSError: it cannot be told.
        """
        return self._place.is_file() or any(self._place.iterdir())

    def _find(self, index: int) -> tuple[Source, int]:
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self._sources[which], index - (int(self._ends[which - 1]) if which else 0)


def told(error: OSError) -> str:
    """What is said of a file that is gone, or closed to us."""
    name = error.filename or "It"
    return f"{name} cannot be read ({error.strerror or error}); restore it, or let it be read."


def _paths(place: Path) -> dict[Path, int]:
    """The files, in the order of their names, and how many bytes they have."""
    if place.is_file():
        if place.suffix.lower() not in KNOWN:
            raise UserError(f"{place} is of no known kind; it must end in one of: "
                            f"{', '.join(KNOWN)}.")  # fmt: skip
        return {place: place.stat().st_size}
    if not place.is_dir():
        raise UserError(f"There is no {place}; name a folder or a file of documents.")
    paths = {}
    for path in sorted(place.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(place).parts)
        if not hidden and path.is_file():
            paths[path] = path.stat().st_size
    return paths


def _fingerprint(place: Path, paths: dict[Path, int]) -> str:
    """Tells whether it is the same data: names and sizes of all files."""
    digest = hashlib.sha256()
    for path, size in paths.items():
        name = path.relative_to(place) if place.is_dir() else path.name
        digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
