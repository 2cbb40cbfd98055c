"""A set: a folder of scenes, made one by one, so that a run that was stopped goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from quintet.config import UserError
from quintet.data.world.room import draw_room
from quintet.data.world.scene_files import read_labels, save_scene, scene_folder
from quintet.data.world.scenes import Scene, make_scene
from quintet.data.world.staging import stage_script
from quintet.data.world.writers import Writer

STAGED_TRIES = 4  # scripts that are written for one scene, where one is too long
FAR = 1 << 40  # between the seeds of two tries


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


def make_in(folder: Path, index: int, seed: int, split: str, speakers: bool = False) -> bool:
    """Make and save scene `index` of a set that begins with `seed`, unless it is finished; with
    `speakers` the assistant has another's voice in it.

    Returns:
        Whether it was made.

    Raises:
        UserError: another scene lies there, or the folder cannot be written.
    """
    own = seed + index
    source = f"other speakers, seed {own}" if speakers else ""
    if finished(folder, index, {"seed": own, "split": split, "source": source}):
        return False
    scene = make_scene(own, split, other_speaker=speakers)
    save_scene(replace(scene, source=source), scene_folder(folder, index))
    return True


def make_wide_in(
    folder: Path, index: int, seed: int, split: str, writer: Writer, name: str,
    speakers: bool = False,
) -> bool:  # fmt: skip
    """The same for a scene of the wide world: `writer`, which is called `name`, writes its script,
    and its room is drawn.

    Returns:
        Whether it was made.

    Raises:
        UserError: as `make_in`, or the writer writes nothing that can be staged.
    """
    own, source = seed + index, f"wide world, script by {name}, seed {seed + index}"
    source = f"other speakers, {source}" if speakers else source
    if finished(folder, index, {"seed": own, "split": split, "source": source}):
        return False
    scene = _staged(own, split, writer, speakers)
    save_scene(replace(scene, source=source), scene_folder(folder, index))
    return True


def _staged(seed: int, split: str, writer: Writer, speakers: bool) -> Scene:
    """The scene of the first script that is not too long."""
    refused: UserError | None = None
    for attempt in range(STAGED_TRIES):
        # Test scripts are others than those of training.
        script = writer.write(2 * (seed + attempt * FAR) + (split == "test"))
        try:
            room = draw_room(seed, split)
            return stage_script(script, seed, split, room, other_speaker=speakers)
        except UserError as error:
            refused = error
    assert refused is not None
    raise refused
