"""What a stage's folder says of itself: the settings it was made with, and who is at work there."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from quintet.config import UserError
from quintet.stages.context import DOCUMENTS, MODEL_FILE, RECORD, Context, recorded
from quintet.tokenizers.folders import AUDIO_FILE, IMAGE_FILE, TEXT_FILE, find
from quintet.tokenizers.weight_files import weight_files
from quintet.train import TrainConfig
from quintet.train.exports import digest
from quintet.train.processes import leads
from quintet.train.task import CHECKPOINTS, MAY_CHANGE
from quintet.whole_file import write_whole

# What stages without checkpoints go on from.
KEPT = {DOCUMENTS: "*.safetensors", "own_answers": "*.safetensors", "text_tokenizer": TEXT_FILE}
LOCK = "lock"  # in a stage's folder
# Digests of what a recipe takes from a finished model, and what that is.
START_WEIGHTS, TOKENIZERS = "start_from_weights", "tokenizers"
TAKEN = {TOKENIZERS: "tokenizers", START_WEIGHTS: "weights"}
# Tables of the preset on which a stage's result depends; of the other stages, all of them.
TABLES = {
    "text_tokenizer": ("text",), "audio_tokenizer": ("audio",), "audio_decoder": ("audio",),
    "image_tokenizer": ("image",), DOCUMENTS: ("text", "audio", "image", "live"), "judges": (),
}  # fmt: skip


def record(context: Context) -> None:
    """Write down with what the stage is made."""
    context.folder.mkdir(parents=True, exist_ok=True)
    write_whole(context.folder / RECORD, json.dumps(_made_with(context), indent=2) + "\n")


def is_begun(context: Context) -> bool:
    """Whether a part of the stage's work is kept that a run would go on from."""
    kept = KEPT.get(context.settings["stage"], f"{CHECKPOINTS}/*[0-9]")  # whole ones
    return any(context.folder.rglob(kept))


def check_same(context: Context) -> None:
    """Whether the recipe and the preset still say what the stage was made with.

    Raises:
        UserError: something differs that its result depends on.
    """
    before, now = recorded(context.folder), _made_with(context)
    if not before:
        return
    for name in sorted(before.keys() | now.keys()):
        table, _, inner = name.rpartition(".")
        # More shards may be asked for; and what has been recorded only lately has no record.
        if name == "processes" or (table == "shards" and context.settings["stage"] == DOCUMENTS):
            continue
        if table in _trained(context) and (inner in MAY_CHANGE or name not in before):
            continue
        if name in TAKEN and name not in before:
            continue
        if name in TAKEN and before[name] != now.get(name):
            raise UserError(
                f"Stage {context.name!r} was made with the {TAKEN[name]} of a model that has "
                "changed since, or that the recipe no longer names; restore that model, or the "
                f"line that names it, or delete {context.folder}, and the folders of later stages "
                "that use it, to run it again."
            )
        if before.get(name) != now.get(name):
            was, says = (
                f"{values[name]!r:.60}" if name in values else "nothing" for values in (before, now)
            )
            raise UserError(
                f"Stage {context.name!r} was made with {name} = {was} and the recipe now says "
                f"{says}; restore that setting, or delete {context.folder}, and the folders of "
                "later stages that use it, to run it again."
            )


def _trained(context: Context) -> list[str]:
    """The tables of the stage that say how something trains."""
    module = importlib.import_module(f"quintet.stages.{context.settings['stage']}")
    return [key for key, kind in module.SETTINGS.items() if kind is TrainConfig]


def _made_with(context: Context) -> dict[str, Any]:
    """The settings by their names, such as "lines", "train.steps" and "preset.audio.strides"."""
    preset, stage = context.preset.to_dict(), context.settings["stage"]
    tables = TABLES.get(stage, [name for name in preset if name != "name"])
    settings: dict[str, Any] = {**context.settings}
    # The names of models may come to mean others.
    if context.model is not None:
        weights = weight_files(context.model / MODEL_FILE)
        settings[START_WEIGHTS] = [digest(file) for file in weights]
    if context.tokenizers is not None and tables:
        folder = find(context.tokenizers)
        files = (TEXT_FILE, AUDIO_FILE, IMAGE_FILE)
        settings[TOKENIZERS] = [digest(folder / file) for file in files]
    settings |= {key: asdict(context.train_table(key)) for key in _trained(context)}
    settings |= {f"preset.{name}": preset[name] for name in tables}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        inner = value if isinstance(value, dict) else None
        flat |= {key: value} if inner is None else {f"{key}.{n}": v for n, v in inner.items()}
    read_again: dict[str, Any] = json.loads(json.dumps(flat))
    return read_again


@contextmanager
def alone(context: Context) -> Iterator[None]:
    """Nobody else runs the stage in this folder meanwhile; of many processes, the leader sees to
    that. The kernel lets go of the lock when the process ends, however it does.

    Raises:
        UserError: somebody does.
    """
    if not leads():
        yield
        return
    context.folder.mkdir(parents=True, exist_ok=True)
    with (context.folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"Stage {context.name!r} is being run in {context.folder} already, by process "
                f"{file.read(20) or 'unknown'}; wait for it, stop it, or name another folder with "
                "--out."
            ) from None
        except OSError:  # a file system that has no locks
            pass
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
