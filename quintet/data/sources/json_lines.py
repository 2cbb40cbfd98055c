"""JSON lines: one record a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from quintet.config import UserError
from quintet.data.sources.document import Document, Found
from quintet.data.sources.nearby import find_nearby
from quintet.data.sources.records import document_of

SUFFIXES = (".jsonl", ".ndjson")
MAX_LINE = 64_000_000  # bytes; pictures may stand in it as data URIs


class JsonLines:
    """The records of one file; only where its lines begin is kept in memory."""

    def __init__(self, path: Path, found: Found) -> None:
        self.path = path
        starts, sizes, lines = [], [], []
        with path.open("rb") as file:
            for number, (start, size, blank) in enumerate(_lines(file), 1):
                if not blank:
                    starts.append(start)
                    sizes.append(size)
                    lines.append(number)
        self._starts, self._lines = np.array(starts, np.int64), np.array(lines, np.int64)
        self.sizes = np.array(sizes, np.int64)

    def name(self, index: int) -> str:
        return f"{self.path}, line {self._lines[index]}"

    def read(self, index: int) -> Document:
        name, size = self.name(index), int(self.sizes[index])
        if size > MAX_LINE:
            raise UserError(f"{name} has {size:,} bytes; make it {MAX_LINE:,} or less.")
        with self.path.open("rb") as file:
            file.seek(int(self._starts[index]))
            line = file.read(size)
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{name} is not JSON; write it again.") from None
        return document_of(record, name, partial(find_nearby, self.path))


def _lines(file: IO[bytes]) -> Iterator[tuple[int, int, bool]]:
    """(start, size, whether it is blank) of every line; a long one is never held whole."""
    start = 0
    while piece := file.readline(MAX_LINE):
        size, blank = len(piece), not piece.strip()
        while not piece.endswith(b"\n") and (piece := file.readline(MAX_LINE)):
            size += len(piece)
            blank = blank and not piece.strip()
        yield start, size, blank
        start += size
