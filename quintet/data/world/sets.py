"""A set: a folder of scenes, made one by one, so that a run that was stopped goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quintet.config import UserError
from quintet.data.world.scene_files import read_labels, save_scene, scene_folder
from quintet.data.world.scenes import make_scene


def finished(folder: Path, index: int, about: dict[str, Any]) -> bool:
    """Whether scene `index` of the set is made, with labels that say what `about` says.

    Raises:
        UserError: it is made, and of something else.
    """
    path = scene_folder(folder, index)
    if not (path / "scene.json").exists():
        return False
    found = read_labels(path)
    for key, expected in about.items():
        if found.get(key) != expected:
            raise UserError(
                f"{path} is a scene of {key} {found.get(key)!r}, not {expected!r}; name another "
                "folder with --out."
            )
    return True


def make_in(folder: Path, index: int, seed: int, split: str) -> bool:
    """Make and save scene `index` of a set that begins with `seed`, unless it is finished.

    Returns:
        Whether it was made.

    Raises:
        UserError: another scene lies there, or the folder cannot be written.
    """
    if finished(folder, index, {"seed": seed + index, "split": split}):
        return False
    save_scene(make_scene(seed + index, split), scene_folder(folder, index))
    return True
