"""What a stage hands on to later ones: it appears whole, and digests tell later whether it still
is what was written."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

DIGESTS = "digests.json"  # in a stage's folder: of the files that it exported, by name


def digest(path: Path) -> str:
    """Of a file's bytes; "unreadable" where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def export(write: Callable[[Path], None], folder: Path) -> None:
    """Let `write` fill a folder of its own and move what it wrote to `folder`, so that a kill
    leaves no half file under a final name. The digests go first: a file that the next stage
    finds has one."""
    partial = folder / "export.partial"
    shutil.rmtree(partial, ignore_errors=True)  # safetensors leaves files of chance names in it
    partial.mkdir(parents=True)
    write(partial)
    files = sorted(path for path in partial.iterdir() if path.name != DIGESTS)
    digests = {path.name: digest(path) for path in files}
    (partial / DIGESTS).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
    for path in (partial / DIGESTS, *files):
        path.chmod(0o644)  # safetensors writes for the owner alone, but these are to be shared
        path.replace(folder / path.name)
    partial.rmdir()


def is_whole(path: Path) -> bool:
    """Whether an exported file is what was written; so is one of which nothing is recorded."""
    record = path.with_name(DIGESTS)
    if not record.exists():
        return True
    try:
        recorded = json.loads(record.read_text(encoding="utf-8")).get(path.name)
    except (OSError, ValueError, AttributeError):
        return False
    return recorded is None or recorded == digest(path)
