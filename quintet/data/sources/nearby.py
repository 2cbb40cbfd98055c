"""Pictures and sounds that a record knows by name: beside its file, or in a tar beside it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from quintet.config import UserError
from quintet.data.sources.document import Blob
from quintet.data.sources.tars import SUFFIX, members


@lru_cache(maxsize=4)
def _inside(tar: Path) -> dict[str, Blob]:
    try:
        return members(tar)[0]
    except (UserError, OSError):
        return {}


def find_nearby(container: Path, name: str) -> Blob | None:
    """What `name` stands for in a record of `container`: a file in its folder or below, a member
    of the tar that has its name (docs.jsonl, docs.tar), or "some.tar/member".

    A name that leads out of the folder, or to an address, is not followed.
    """
    folder = container.parent
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            return None
        if path.is_file():
            return Blob(name, path.stat().st_size, path)
    except (OSError, ValueError):  # too long for a name, or with a zero in it
        return None
    tar = container.with_suffix(SUFFIX)
    if tar.is_file() and name in _inside(tar):
        return _inside(tar)[name]
    tar_name, mark, member = name.partition(SUFFIX + "/")
    if mark and (tar := folder / (tar_name + SUFFIX)).is_file():
        return _inside(tar).get(member)
    return None
