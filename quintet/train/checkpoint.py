"""Checkpoints: a run that was killed goes on as if it had never stopped, on as many processes as
there are then.

Each is a folder of PyTorch's distributed format, into which every process writes what it holds,
and from which every process reads what it needs. A folder appears under its name when all of it
is on the disk; digests tell later whether it still is what was written. The newest two are kept.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import Future as Background
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter, SavePlan, SavePlanner
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from quintet.config import UserError
from quintet.train.exports import digest
from quintet.train.processes import Place
from quintet.train.task import CHECKPOINTS, MAY_CHANGE

ABOUT = "about.json"  # in a checkpoint's: its step, the run's settings, the digests of its files
KEPT = 2
MODULE, OPTIMIZER, RANDOM = "module/", "optimizer/", "random"  # how names of tensors begin
DIGEST = "digest of "


class Checkpoints:
    """The checkpoints of the run in `folder`, which is made with `settings`. When a block of
    `with` ends, however it does, they are written."""

    def __init__(self, folder: Path, place: Place, settings: dict[str, Any]) -> None:
        self.folder, self.place = folder, place
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))  # as they are read again
        self.writing: Background[Any] | None = None
        # Of its own: what is written in the background must not mix with the training's messages.
        self.group = distributed.new_group(backend="gloo") if place.world_size > 1 else None

    def save(self, module: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Keep everything as it stands before `step`. Several processes write in the background,
        when the checkpoint before is written."""
        self.wait()
        state = {MODULE + name: tensor for name, tensor in module.state_dict().items()}
        for name, parameter in module.named_parameters():
            kept = optimizer.state.get(parameter, {})
            state |= {f"{OPTIMIZER}{kind}/{name}": value for kind, value in kept.items()}
        state[RANDOM] = torch.get_rng_state()
        writer = _Writer(self.folder, step, self.settings)
        with _told(self.folder):
            if self.group is None:
                checkpoint.save(state, storage_writer=writer)
                return
            writing = checkpoint.async_save(state, storage_writer=writer, process_group=self.group)
            assert isinstance(writing, Background)
            self.writing = writing

    def wait(self) -> None:
        """Until the last checkpoint is written."""
        if self.writing is not None:
            writing, self.writing = self.writing, None
            with _told(self.folder):
                writing.result()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()

    def load(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Restore the newest checkpoint that is whole; the step to go on with (0 without one).

        Raises:
            UserError: none is whole, or it was made with other settings or another shape.
        """
        found = _checkpoints(self.folder)
        if self.place.leads:
            for path in (self.folder / CHECKPOINTS).glob("*.partial"):
                shutil.rmtree(path)
        for path in reversed(found):
            about = _about(path)
            files: dict[str, str] = about.get("files", {})
            mine = sorted(files)[self.place.rank :: self.place.world_size]
            whole = bool(files) and all(digest(path / name) == files[name] for name in mine)
            if self.place.all_agree(whole):
                self._check_settings(path, about["settings"])
                self._restore(path, module, optimizer)
                return int(path.name)
            if self.place.leads:
                print(f"{path} is damaged; the one before it is used.", file=sys.stderr)
        if found:
            raise UserError(
                f"No checkpoint in {self.folder / CHECKPOINTS} is whole; "
                f"delete {self.folder} to start the stage again."
            )
        return 0

    def _restore(self, path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """In place, whatever the shares of the processes are and were."""
        reader = FileSystemReader(path)
        stored = _stored(reader)
        state = {MODULE + name: tensor for name, tensor in module.state_dict().items()}
        state[RANDOM] = torch.get_rng_state()
        parameters = dict(module.named_parameters())
        for name in stored:  # the optimizer has state only of parameters that had a gradient
            kind, _, parameter = name.removeprefix(OPTIMIZER).partition("/")
            if name.startswith(OPTIMIZER) and parameter in parameters:
                like = parameters[parameter]
                state[name] = torch.zeros(()) if kind == "step" else torch.zeros_like(like)
                optimizer.state[like][kind] = state[name]
        odd = sorted(state.keys() ^ stored.keys()) or sorted(
            name for name, tensor in state.items() if tensor.size() != stored[name].size
        )
        if odd:
            raise self._misfit(path, f"it differs in {odd[0]}")
        with _told(self.folder):
            checkpoint.load(state, storage_reader=reader)
        # A module's hooks may have given copies of its weights, as those of convolutions do.
        module.load_state_dict({name: state[MODULE + name] for name in module.state_dict()})
        torch.set_rng_state(state[RANDOM])

    def _misfit(self, path: Path, reason: str) -> UserError:
        return UserError(
            f"{path} does not fit this stage ({reason}); delete {self.folder} to start the stage "
            "again, or restore the preset it was made with."
        )

    def _check_settings(self, path: Path, made_with: dict[str, Any]) -> None:
        """A run that went on with other settings would be neither the old one nor the new one."""
        for name, now in self.settings.items():
            # A setting that is younger than the checkpoint has no record there.
            if name not in MAY_CHANGE and made_with.get(name, now) != now:
                raise UserError(
                    f"{path} was made with {name} = {made_with[name]} and the recipe now says "
                    f"{now}; restore that setting, or delete {self.folder} to start the stage "
                    "again."
                )


def weights(folder: Path) -> dict[str, Tensor]:
    """Those of the module, whole, as the newest checkpoint of the run in `folder` has them. One
    process reads them by itself, though it has others beside it."""
    reader = FileSystemReader(_checkpoints(folder)[-1])
    state = {
        name: torch.empty(stored.size, dtype=stored.properties.dtype)
        for name, stored in _stored(reader).items()
        if name.startswith(MODULE)
    }
    with _told(folder):
        checkpoint.load(state, storage_reader=reader, no_dist=True)
    return {name.removeprefix(MODULE): tensor for name, tensor in state.items()}


class _Writer(FileSystemWriter):
    """Writes beside the final name, which the folder takes when all processes have written."""

    def __init__(self, run: Path, step: int, settings: dict[str, Any]) -> None:
        self.run, self.settings = run, settings
        self.final = run / CHECKPOINTS / f"{step:08}"
        self.partial = self.final.with_suffix(".partial")
        super().__init__(self.partial)

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """The digests of this process's files go to the leader with what else it must know."""
        results = super().write_data(plan, planner).wait()
        for name in {result.storage_data.relative_path for result in results}:
            written = digest(self.partial / name)
            results.append(WriteResult(MetadataIndex(DIGEST + name), 0, written))
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """By the leader, at the end."""
        files: dict[str, str] = {}
        for part in results:
            for result in [r for r in part if r.index.fqn.startswith(DIGEST)]:
                files[result.index.fqn.removeprefix(DIGEST)] = result.storage_data
                part.remove(result)
        super().finish(metadata, results)
        files[".metadata"] = digest(self.partial / ".metadata")
        about = {"step": int(self.final.name), "settings": self.settings, "files": files}
        about["digest"] = _digest_of(about)
        (self.partial / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if self.final.exists():  # damaged, as the run has come here again
            shutil.rmtree(self.final)
        self.partial.rename(self.final)
        before = [path for path in _checkpoints(self.run) if path < self.final]
        for path in _checkpoints(self.run):
            if path not in (self.final, *before[1 - KEPT :]):
                shutil.rmtree(path)


def _stored(reader: FileSystemReader) -> dict[str, TensorStorageMetadata]:
    """What tensors a checkpoint holds, by name."""
    found = reader.read_metadata().state_dict_metadata
    return {name: kept for name, kept in found.items() if isinstance(kept, TensorStorageMetadata)}


def _checkpoints(run: Path) -> list[Path]:
    """The oldest first."""
    return sorted(path for path in (run / CHECKPOINTS).glob("*") if path.name.isdigit())


def _about(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; nothing, if that is damaged."""
    try:
        about: dict[str, Any] = dict(json.loads((path / ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
    whole = about.pop("digest", None) == _digest_of(about)
    return about if whole and about.get("step") == int(path.name) else {}


def _digest_of(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What goes wrong on any process, as one sentence; no remark that there may be only one."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            yield
    except CheckpointException as error:
        reason = next(iter(error.failures.values()))[0]
        if isinstance(reason, KeyboardInterrupt):
            raise reason from None
        raise UserError(
            f"The checkpoint in {folder} could not be written or read ({reason}); check the disk "
            "and the space left on it."
        ) from None
