"""Weights on disk: safetensors, in one file or in shards with an index, as the hub lays them out.

Files are float16 on disk, which cannot run code when they are read; what only training needs
stays out of them. A file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from quintet.config import UserError
from quintet.tokenizers.quantize import LEARNING

MAX_SHARD_SIZE = "5GB"  # of a file; more weights are split into several
SHARD_SIZE = re.compile(r"(?=.*[1-9])\d+(\.\d+)? ?[KMGT]B", re.ASCII)


def weight_files(path: Path) -> list[Path]:
    """`path` itself, or the shards that stand for it, which the index beside it names.

    Raises:
        UserError: there is neither, or the index names something that is no file beside it.
    """
    index = _index_of(path)
    if path.is_file() or not index.is_file():
        return [path]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        beside = (n for n in names if Path(n).name == n and n.endswith(".safetensors"))
        shards = [path.parent / name for name in beside]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names, shards = [], []
    if not names or len(shards) != len(names):
        raise UserError(
            f"{index} is not an index of weights; restore it from where the model came from."
        )
    return shards


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of the shards that stand for it.

    Raises:
        UserError: a file is missing or damaged.
    """
    return {name: t for file in weight_files(path) for name, t in _read(file).items()}


def each_weight(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor, one after another, of a file or its shards: for who cannot hold all."""
    for file in weight_files(path):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no dictionary)
                yield name, opened.get_tensor(name)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill `module` from `path` or its shards, one after another; float16 is widened.

    Raises:
        UserError: a file is missing, damaged, or belongs to another shape.
    """
    check_weights(module, path)
    for file in weight_files(path):
        module.load_state_dict(_read(file), strict=False)  # names and shapes were just compared


def check_weights(module: nn.Module, path: Path) -> None:
    """Compare the names and shapes in the files' headers with those of `module`, which may be on
    the device "meta": what a hand-made config.json asks for then costs nothing.

    Raises:
        UserError: as `load_weights`.
    """
    theirs = {name: s for file in weight_files(path) for name, s in _shapes(file).items()}
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


def save_weights(module: nn.Module, path: Path, max_shard_size: str = MAX_SHARD_SIZE) -> None:
    """Write the weights as float16 safetensors that everybody on the machine may read, without
    what only training needs: to `path`, or, if they are more than `max_shard_size`, to shards
    and an index beside it.

    A tensor that float16 cannot hold (beyond 65,504) keeps its type.

    Raises:
        UserError: as `check_shard_size`.
    """
    check_shard_size(max_shard_size)
    tensors = module.state_dict().items()
    weights = {name: _narrow(tensor) for name, tensor in tensors if _is_shared(name)}
    plan = split_torch_state_dict_into_shards(
        weights, filename_pattern=f"{path.stem}{{suffix}}.safetensors",
        max_shard_size=max_shard_size,
    )  # fmt: skip
    for file, names in plan.filename_to_tensors.items():
        held = {name: weights[name] for name in names}
        _appear(path.parent / file, partial(save_file, held, metadata={"format": "pt"}))
    index = _index_of(path)
    stale = {*path.parent.glob(f"{path.stem}-*-of-*.safetensors"), path, index}
    if plan.is_sharded:
        known = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        text = json.dumps(known, indent=2) + "\n"
        _appear(index, lambda new: new.write_text(text, encoding="utf-8"))
        stale.discard(index)
    for old in stale - {path.parent / file for file in plan.filename_to_tensors}:
        old.unlink(missing_ok=True)


def check_shard_size(size: object) -> None:
    """Raises:
    UserError: no size of a file.
    """
    if not isinstance(size, str) or not SHARD_SIZE.fullmatch(size):
        raise UserError(
            f"max_shard_size is {size!r:.40}; give a number above 0 with KB, MB, GB or TB, such as "
            f"{MAX_SHARD_SIZE!r}."
        )


def _index_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.index.json")


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise _missing(path) from None
    except SafetensorError as error:
        raise _damaged(path, error) from None


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Of the tensors of a file, by its header."""
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise _missing(path) from None
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def _missing(path: Path) -> UserError:
    return UserError(f"There is no file {path}; train that part first or copy it.")


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged ({error}); copy or train it again.")


def _appear(path: Path, write: Callable[[Path], object]) -> None:
    """What `write` writes, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.partial")
    try:
        write(unfinished)
        unfinished.chmod(0o644)  # written for the owner alone, but meant to be shared
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _is_shared(name: str) -> bool:
    return name.rpartition(".")[2] not in LEARNING


def _narrow(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point():
        half = tensor.half()
        if torch.equal(torch.isfinite(half), torch.isfinite(tensor)):
            tensor = half
    return tensor.contiguous()
