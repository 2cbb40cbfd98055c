"""Files that appear whole or not at all, whoever else writes the same one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file to write to. It takes the place of `path` when the context ends; if it ends by
    an error, nothing does, and an older file stays.

    Until then it has a name of its own in the same folder: processes that write the same file at
    once do not meet, and the last one's stays.
    """
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(partial, 0o644)  # a temporary file is private, the result need not be
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
