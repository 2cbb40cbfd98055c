"""Files that appear whole or not at all, whoever else writes the same one."""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A new file to write to. It takes the place of `path` when the context ends; if it ends by
    an error, nothing does, and an older file stays. `mode` says who may use it then, as of any new
    file: less what the umask forbids.

    Until then it has a name of its own in the same folder: processes that write the same file at
    once do not meet, and the last one's stays. What a killed one left goes with the next.
    """
    handle, partial = _begin(path, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """The same for a text."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8"))


def _begin(path: Path, mode: int) -> tuple[int, Path]:
    """A file beside `path`, locked for as long as its writer lives."""
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with suppress(OSError), old.open("rb") as left:  # its writer lives, or it has just gone
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            old.unlink()
    while True:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with suppress(OSError):  # a file system without locks: nothing is cleared away there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if partial.exists():
            return handle, partial
        os.close(handle)  # another took it for a dead one's before it was locked
