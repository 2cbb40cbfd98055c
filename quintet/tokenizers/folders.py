"""Folders of trained parts: found by name, downloaded from the hub, filled, saved, shared.

A folder holds `config.json`, weights as safetensors (float16, which cannot run code when they are
read) and a card.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from quintet.config import UserError
from quintet.tokenizers.quantize import LEARNING

BUNDLED = Path(__file__).parent.parent / "bundled"
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
TEXT_FILE = "text_tokenizer.model"
AUDIO_FILE = "audio_tokenizer.safetensors"
IMAGE_FILE = "image_tokenizer.safetensors"
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, TEXT_FILE, AUDIO_FILE, IMAGE_FILE)


def find(name: str, files: Sequence[str] = MODEL_FILES) -> Path:
    """The folder called `name`: a path, a bundled name, or a hub id, of which `files` are
    downloaded.

    Raises:
        UserError: there is no such folder.
    """
    bundled = ", ".join(sorted(p.parent.name for p in BUNDLED.glob(f"*/{CONFIG_FILE}"))) or "none"
    if not name.strip():  # it would be the working directory
        raise UserError(
            f"The name of the model is empty; name a folder, or one that is bundled: {bundled}."
        )
    for folder in (Path(name), BUNDLED / name):
        if (folder / CONFIG_FILE).is_file():
            return folder
    if Path(name).is_dir():
        raise UserError(
            f"{name} holds no {CONFIG_FILE}, so it is not a model; name another folder."
        )
    # A mistyped path such as runs/typo looks like a hub id, but its parent folder exists.
    if name.count("/") == 1 and not name.startswith((".", "/")) and not Path(name).parent.exists():
        return _from_hub(name, files, bundled)
    raise UserError(
        f"There is no model {name!r}; name a folder with a {CONFIG_FILE}, "
        f"or one that is bundled: {bundled}."
    )


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
    """The values of a folder's `config.json`; an image tokenizer that does not say how it
    normalizes does so by groups.

    Raises:
        UserError: it is not JSON.
    """
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON; restore it from where the model came from.") from None
    if isinstance(values, dict) and isinstance(image := values.get("image"), dict):
        image.setdefault("normalization", "group")  # the only one before folders said which
    return values


def write_config(values: dict[str, Any], folder: Path) -> None:
    """Make `folder`, if need be, and write its `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}; train that part first or copy it.") from None
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}); copy or train it again.") from None


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill `module` from a safetensors file (float16 on disk is widened).

    Raises:
        UserError: the file is missing, damaged, or belongs to another shape.
    """
    check_weights(module, path)
    module.load_state_dict(read_weights(path))


def check_weights(module: nn.Module, path: Path) -> None:
    """Compare the names and shapes in the file's header with those of `module`, which may be on
    the device "meta": what a hand-made config.json asks for then costs nothing.

    Raises:
        UserError: as `load_weights`.
    """
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            theirs = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except FileNotFoundError:
        raise UserError(f"There is no file {path}; train that part first or copy it.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); copy or train it again.") from None
    mine = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    needed = {name for name in mine if name in theirs or _is_shared(name)}
    wrong = [name for name in mine if name in needed and theirs.get(name) != mine[name]]
    wrong += [name for name in theirs if name not in mine]
    if wrong:
        first = wrong[0]
        raise UserError(
            f"{path} was made for another shape of model (first difference: {first}); "
            "use the config.json that came with it."
        )


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the weights as float16 safetensors that everybody on the machine may read, without
    what only training needs.

    A tensor that float16 cannot hold (beyond 65,504) keeps its type. The file appears whole or
    not at all.
    """
    tensors = module.state_dict().items()
    weights = {name: _narrow(tensor) for name, tensor in tensors if _is_shared(name)}
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(weights, partial)
        partial.chmod(0o644)  # written for the owner alone, but meant to be shared
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _is_shared(name: str) -> bool:
    return name.rpartition(".")[2] not in LEARNING


def _narrow(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point():
        half = tensor.half()
        if torch.equal(torch.isfinite(half), torch.isfinite(tensor)):
            tensor = half
    return tensor.contiguous()


def upload(folder: Path, repository: str) -> None:
    """Put a folder into a Hugging Face repository, which is made if it does not exist."""
    api = HfApi()
    api.create_repo(repository, exist_ok=True)
    api.upload_folder(repo_id=repository, folder_path=folder)
