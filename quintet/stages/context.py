"""What a stage is given: its recipe's table, the preset, and the folders of the run."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from quintet.config import RUNS, OmniConfig, UserError, from_dict
from quintet.tokenizers.folders import find
from quintet.train import TrainConfig
from quintet.train.exports import is_whole
from quintet.train.processes import fastest_precision

DOCUMENTS = "documents"  # the stage that makes samples of the synthetic world
TOKENIZER_STAGES = ("text_tokenizer", "audio_tokenizer", "image_tokenizer")
MODEL_FILE = "model.safetensors"  # what a stage of the transformer exports
SCORES = "scores.json"  # in a stage's folder, once it is finished
RECORD = "settings.json"  # in a stage's folder: what it was made with
# Stages that train where the processor computes, GPU or not.
ON_CPU = {"audio_tokenizer", "image_tokenizer", "audio_decoder", "judges"}


@dataclass(frozen=True)
class Context:
    """One stage of a recipe, about to run."""

    name: str
    preset: OmniConfig
    settings: dict[str, Any]  # the stage's table in the recipe
    run_folder: Path  # of the whole recipe; each stage has a folder below it
    tokenizers: str | None = None  # the model whose tokenizers the recipe takes, if it trains none
    model: Path | None = None  # the model that `start_from` names, where that is no earlier stage
    recipe: str = "RECIPE"  # its name or file, as the command was given it

    @property
    def folder(self) -> Path:
        """Where this stage keeps its checkpoint, log and exports."""
        return self.run_folder / self.name

    def command(self, stage: str) -> str:
        """What runs `stage` of the same recipe, in the same folder."""
        runs = self.run_folder.parent
        out = "" if runs == RUNS else f" --out {shlex.quote(str(runs))}"
        return f"quintet train {shlex.quote(self.recipe)} --stage {shlex.quote(stage)}{out}"

    @property
    def documents(self) -> str:
        """The stage that made the samples on which this one trains."""
        return str(self.settings.get("documents", DOCUMENTS))

    @property
    def train(self) -> TrainConfig:
        """The stage's `train` table."""
        return self.train_table("train")

    def train_table(self, key: str) -> TrainConfig:
        """A table of the stage that says how something trains.

        Raises:
            UserError: it is not there, lacks a setting, or has one that nothing reads.
        """
        table = self.settings.get(key)
        if not isinstance(table, dict):
            raise UserError(
                f"Stage {self.name!r} has no table {key!r}; add one, with steps and batch_size."
            )
        if missing := [name for name in ("steps", "batch_size") if name not in table]:
            raise UserError(
                f"Stage {self.name!r} does not say {missing[0]!r}; add it to the table {key!r}."
            )
        config = from_dict(TrainConfig, table, f"stage {self.name}, table {key},")
        if config.precision != "auto":
            return config
        return replace(config, precision=self._fastest_precision(key))

    def _fastest_precision(self, key: str) -> Literal["float32", "bfloat16"]:
        """A stage that has begun keeps its own, on whatever machine it goes on."""
        begun_in = recorded(self.folder).get(f"{key}.precision")
        if begun_in in ("float32", "bfloat16"):
            return begun_in
        on_gpu = torch.cuda.is_available() and self.settings["stage"] not in ON_CPU
        return fastest_precision(on_gpu)

    def start(self, stage: str) -> Path:
        """The transformer that this stage goes on from: that of `stage`, or of the stage or the
        finished model that the setting `start_from` names."""
        if self.model is not None:
            return self.model / MODEL_FILE
        return self.made_by(self.settings.get("start_from", stage), MODEL_FILE)

    def made_by(self, stage: str, file: str) -> Path:
        """A file that an earlier stage exported.

        Raises:
            UserError: that stage has not run, or the file has changed since.
        """
        if self.tokenizers is not None and stage in TOKENIZER_STAGES:
            return find(self.tokenizers) / file
        path = self.run_folder / stage / file
        if path.exists() and not is_whole(path):
            raise UserError(
                f"{path} is not what stage {stage!r} wrote there, so it is damaged; delete "
                f"{path} and {path.with_name(SCORES)} and run that stage again, which ends quickly "
                f"({self.command(stage)})."
            )
        if not path.exists():
            raise UserError(
                f"Stage {self.name!r} needs {path}, which stage {stage!r} makes; run that stage "
                f"first ({self.command(stage)}), or add it to the recipe."
            )
        return path


def recorded(folder: Path) -> dict[str, Any]:
    """What a stage's folder says that it was made with; nothing, if it does not, as in earlier
    versions."""
    try:
        found: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def check_filling(fill_step: int, steps: int) -> None:
    """Whether codebooks that are filled before `fill_step` (-1: they are full) are used at all.

    Raises:
        UserError: training ends before.
    """
    if fill_step >= steps:
        raise UserError(
            f"Codebooks are filled before step {fill_step} and there are {steps} steps; lower "
            "fill_at."
        )
