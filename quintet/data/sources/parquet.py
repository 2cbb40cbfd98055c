"""Parquet: one record a row, as data sets on a hub have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from quintet.config import UserError
from quintet.data.sources.document import Document, Found, NotInstalled
from quintet.data.sources.nearby import find_nearby
from quintet.data.sources.records import COLUMNS, FORMS, document_of

SUFFIX = ".parquet"
MAX_GROUP_BYTES = 2_000_000_000  # of a row group, which is read at once


class Parquet:
    """The rows of one file; a row group is in memory while its rows are read."""

    def __init__(self, path: Path, found: Found) -> None:
        self.path = path
        metadata = _open(path).metadata
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        rows = [group.num_rows for group in groups]
        if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
            raise UserError(f"{path} is damaged (it counts its rows in two ways); restore it.")
        if any(group.total_byte_size > MAX_GROUP_BYTES for group in groups):
            raise UserError(
                f"{path} has a row group of more than {MAX_GROUP_BYTES:,} bytes; write smaller "
                "ones (pyarrow.parquet.write_table has row_group_size)."
            )
        self._ends = np.cumsum(rows, dtype=np.int64)
        each = [group.total_byte_size // max(1, group.num_rows) for group in groups]
        self.sizes = np.repeat(np.array(each, np.int64), rows)

    def name(self, index: int) -> str:
        return f"{self.path}, row {index}"

    def read(self, index: int) -> Document:
        group = int(np.searchsorted(self._ends, index, side="right"))
        first = int(self._ends[group - 1]) if group else 0
        record = {
            name: column[index - first].as_py() for name, column in _group(self.path, group).items()
        }
        kept = {name: value for name, value in record.items() if value is not None}
        return document_of(kept, self.name(index), partial(find_nearby, self.path))


def _pyarrow() -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise NotInstalled(
            "Parquet is read with pyarrow, which is not installed; install it: pip install pyarrow"
        ) from None
    return parquet


@contextmanager
def _told(damage: str) -> Iterator[None]:
    """Pyarrow's errors as one sentence: its own, and of damaged data also an OSError without a
    number, or names that are no text. An OSError with a number is of the machine."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        told = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{damage} ({told[:200]}); restore it.") from None


def _open(path: Path) -> Any:
    parquet = _pyarrow()
    with _told(f"{path} is not a Parquet file, or is damaged"):
        return parquet.ParquetFile(path)


@lru_cache(maxsize=1)
def _group(path: Path, group: int) -> dict[str, Any]:
    """The columns of a row group that records have.

    Raises:
        UserError: it has none of them, or is damaged.
    """
    with _open(path) as file:
        known = [name for name in file.schema_arrow.names if name in COLUMNS]
        if not known:
            raise UserError(f"{path} has no column of records; write {FORMS}.")
        with _told(f"{path}, row group {group}, is damaged"):
            table = file.read_row_group(group, columns=known, use_threads=False)
    return {name: table.column(name) for name in known}
