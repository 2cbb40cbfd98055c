"""Folders of trained parts: found by name, downloaded from the hub, filled, saved, shared.

A folder holds `config.json`, weights (`weight_files`) and a card.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download

from quintet.config import UserError

BUNDLED = Path(__file__).parent.parent / "bundled"
VOICES_FILE = "voices.safetensors"  # of a model that can answer in others' voices
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
TEXT_FILE = "text_tokenizer.model"
AUDIO_FILE = "audio_tokenizer.safetensors"
IMAGE_FILE = "image_tokenizer.safetensors"
# Of a model, on the hub; weights beyond a size are shards and an index.
MODEL_FILES = (
    CONFIG_FILE, WEIGHTS_FILE, f"{WEIGHTS_FILE}.index.json", "model-*-of-*.safetensors",
    CARD_FILE, TEXT_FILE, AUDIO_FILE, IMAGE_FILE, VOICES_FILE,
)  # fmt: skip


def find(name: str, files: Sequence[str] = MODEL_FILES) -> Path:
    """The folder called `name`: a path, a bundled name, or a hub id, of which `files` are
    downloaded.

    Raises:
        UserError: there is no such folder.
    """
    bundled = ", ".join(_bundled_with(files)) or "none"
    if not name.strip():  # it would be the working directory
        raise UserError(
            f"The name of the model is empty; name a folder, or one that is bundled: {bundled}."
        )
    for folder in (Path(name), BUNDLED / name):
        if (folder / CONFIG_FILE).is_file():
            return folder
    if Path(name).is_dir():
        within = [folder for at in ("*", "*/model") for folder in _fitting(Path(name), at, files)]
        other = f"{within[0]}, which is one" if within else "another folder"
        raise UserError(f"{name} holds no {CONFIG_FILE}, so it is not a model; name {other}.")
    # A mistyped path such as runs/typo looks like a hub id, but its parent folder exists.
    if name.count("/") == 1 and not name.startswith((".", "/")) and not Path(name).parent.exists():
        return _from_hub(name, files, bundled)
    raise UserError(
        f"There is no model {name!r}; name a folder with a {CONFIG_FILE}, "
        f"or one that is bundled: {bundled}."
    )


def _bundled_with(files: Sequence[str]) -> list[str]:
    """The bundled names that fit."""
    return [folder.name for folder in _fitting(BUNDLED, "*", files)]


def _fitting(folder: Path, at: str, files: Sequence[str]) -> list[Path]:
    """The folders in `folder` that hold each of the parts among `files`."""
    parts = {WEIGHTS_FILE, TEXT_FILE, AUDIO_FILE, IMAGE_FILE} & set(files)
    found = sorted(path.parent for path in folder.glob(f"{at}/{CONFIG_FILE}"))
    return [one for one in found if all((one / part).is_file() for part in parts)]


def _from_hub(name: str, files: Sequence[str], bundled: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except Exception as error:  # the library raises many kinds, all of which mean "not there"
        raise UserError(
            f"The model {name!r} is neither a folder nor on the hub ({first_line(error)}); "
            f"name a folder, or one that is bundled: {bundled}."
        ) from None


def first_line(error: Exception) -> str:
    """What `error` says, or what it is called if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def read_config(folder: Path) -> Any:
    """The values of a folder's `config.json`.

    Raises:
        UserError: it is not JSON, or of two ways for an image tokenizer it names none.
    """
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON; restore it from where the model came from.") from None
    image = values.get("image") if isinstance(values, dict) else None
    if isinstance(image, dict) and "normalization" not in image:  # weights of both kinds fit both
        raise UserError(
            f"{path} does not say how its image tokenizer normalizes; set normalization there to "
            '"pixel" or "group", as it was trained.'
        )
    return values


def write_config(values: dict[str, Any], folder: Path) -> None:
    """Make `folder`, if need be, and write its `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def upload(folder: Path, repository: str) -> None:
    """Put a folder into a Hugging Face repository, which is made if it does not exist."""
    api = HfApi()
    api.create_repo(repository, exist_ok=True)
    api.upload_folder(repo_id=repository, folder_path=folder)
