"""Files that appear whole or not at all, whoever else writes the same one."""

from __future__ import annotations

import fcntl
import glob
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file to write to. It takes the place of `path` when the context ends; if it ends by
    an error, nothing does, and an older file stays.

    Until then it has a name of its own in the same folder: processes that write the same file at
    once do not meet, and the last one's stays.
    """
    _clean_up(path)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with suppress(OSError):  # where a file system has no locks, leftovers stay
            fcntl.flock(handle, fcntl.LOCK_EX)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.chmod(partial, 0o644)  # a temporary file is private, the result need not be
            os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _clean_up(path: Path) -> None:
    """Remove what processes that were killed have left of `path`. Those that still write hold
    the lock of theirs, unless they began in this very instant, which a second of age excludes."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - left.stat().st_mtime > 1:
                left.unlink()
