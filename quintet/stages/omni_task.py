"""What all stages of the transformer share: samples in, the two heads' losses out.

A stage file states its data, what trains, and where it starts from; this file does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from quintet.config import OmniConfig
from quintet.data.loader import LATEST_START, Loader
from quintet.data.mixture import Mixture, MixtureLoader
from quintet.model.omni import Batch, Omni
from quintet.settings import Count, Natural
from quintet.stages.context import MODEL_FILE, Context
from quintet.timeline.masks import FOREVER
from quintet.timeline.packing import pack
from quintet.timeline.targets import Sample
from quintet.tokenizers.bundle import Tokenizers
from quintet.tokenizers.folders import AUDIO_FILE, IMAGE_FILE, TEXT_FILE
from quintet.tokenizers.weight_files import check_weights, each_weight, load_weights
from quintet.train import Task, TrainConfig
from quintet.train.materialize import materialize
from quintet.train.parallel import parallelize
from quintet.train.processes import Place, world_size

SHARD_SETTINGS = {"documents": str, "shards": dict[str, Natural]}
# Of most of these stages.
OMNI_SETTINGS = {"train": TrainConfig, "start_from": str, **SHARD_SETTINGS, "held_out": Count}
EVALUATION_BATCHES = 8
ROWS, QUESTIONS = 64, 1_024  # multiples in which batches are replayed, so that their shapes are few
SHOWN = 3  # samples at every evaluation


def tokenizers_of(context: Context) -> Tokenizers:
    """The three tokenizers that earlier stages trained."""
    return Tokenizers.load(
        context.preset,
        text=context.made_by("text_tokenizer", TEXT_FILE),
        audio=context.made_by("audio_tokenizer", AUDIO_FILE),
        image=context.made_by("image_tokenizer", IMAGE_FILE),
    )


class OmniTask(Task):
    """Train the transformer on samples, or on a mixture of sources of them.

    Args:
        start_from: weights of an earlier stage; None starts from nothing.
        trains: says by name which parameters train; the others stay as they are, to the bit.
        text_weight: how much more a word counts in the loss than another row.
        turn_weight: of a further loss, whether each head answers at all where it is first asked.
        window_steps: how far a row sees back.
        shows: writes into a folder, under a number, what the model makes of a sample kept out of
            training; nothing by default.
    """

    made_ahead = True  # samples are read and laid out while the transformer trains
    replayed = True

    def __init__(
        self,
        preset: OmniConfig,
        config: TrainConfig,
        samples: Sequence[Sample] | Mixture,
        held_out: Sequence[Sample],
        start_from: Path | None,
        trains: Callable[[str], bool] = lambda name: True,
        text_weight: float = 1.0,
        turn_weight: float = 0.0,
        window_steps: int = FOREVER,
        shows: Callable[[Omni, Sample, Path, int], None] | None = None,
    ) -> None:
        self.preset, self.config, self.start_from, self.trains = preset, config, start_from, trains
        self.text_weight, self.turn_weight = text_weight, turn_weight
        self.window_steps, self.shows = window_steps, shows
        # Turned keys tell no absolute time, but how far back a system prompt lies.
        latest_start = LATEST_START if preset.model.d_time else 0
        # Of every loader of the task.
        self.loading = (config.batch_size, config.seed, preset.image.num_tokens, latest_start)
        self.mixture = samples if isinstance(samples, Mixture) else None
        self.loader: Loader | MixtureLoader
        if isinstance(samples, Mixture):
            self.loader = MixtureLoader(samples, *self.loading)
        else:
            self.loader = Loader(samples, *self.loading)
        self.held_out = Loader(held_out, *self.loading)
        self.place = Place()  # until the model is spread

    def module(self) -> nn.Module:
        # What is to be divided gets its numbers afterwards: no process could hold all of it.
        with torch.device("meta" if world_size() > 1 else "cpu"):
            model = Omni(self.preset)
        if self.start_from is not None:
            if model.device.type == "meta":
                check_weights(model, self.start_from)
            else:
                load_weights(model, self.start_from)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self.trains(name))
        return model

    def spread(self, module: nn.Module, place: Place) -> Place:
        assert isinstance(module, Omni)
        self.place = self._divide(module, place)
        return self.place

    def _divide(self, model: Omni, place: Place) -> Place:
        place = parallelize(model, self.config, place)
        if model.device.type == "meta":
            stored = None if self.start_from is None else each_weight(self.start_from)
            materialize(model, place.device, stored)
        return place

    def record(self) -> dict[str, Any]:
        if self.mixture is None:
            return {}
        parts = zip(self.mixture.sources, self.mixture.weights, strict=True)
        return {
            "sources": [
                [about.kind, about.tokenizers, list(about.samples), about.rows, weight]
                for about, weight in ((shards.about, weight) for shards, weight in parts)
            ]
        }

    def parameters(self, module: nn.Module) -> list[dict[str, object]]:
        """Matrices decay towards zero; norms and embeddings do not."""
        trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        plain = {n for n, p in trained if p.ndim < 2 or "embedding" in n or ".codes." in n}
        return [
            {"params": [p for n, p in trained if n not in plain]},
            {"params": [p for n, p in trained if n in plain], "weight_decay": 0.0},
        ]

    def batch(self, step: int) -> Batch:
        return self._share(self.loader.batch(step))

    def _share(self, samples: list[Sample]) -> Batch:
        """Every process makes the same batch and takes its own rows of it."""
        place, lines = self.place, pack(samples, self.config.packed_rows)
        if len(lines) < place.line_groups:  # each needs one
            lines = [[sample] for sample in samples]
        if self.config.cuda_graphs and self.replayed and place.device.type == "cuda":
            batch = Batch.from_lines(lines, self.window_steps, multiple=ROWS)
            return batch.filled(QUESTIONS).to(place.device).masked()
        batch = Batch.from_lines(lines, self.window_steps, place.context)
        if place.data_size > 1:
            batch = batch.share(place.data_rank, place.data_size, place.context)
        return batch.to(place.device)

    def describe_batch(self, step: int) -> str:
        return self.loader.sources(step)

    def losses(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        assert isinstance(module, Omni)
        rows = torch.tensor(float(batch.rows.step.numel()))
        return module.losses(batch, self.text_weight, self.turn_weight) | {"rows": rows}

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        """The losses on samples kept out of training."""
        assert isinstance(module, Omni)
        totals: dict[str, float] = {}
        count = min(EVALUATION_BATCHES, self.held_out.batches_per_epoch)
        for index in range(count):
            batch = self._share(self.held_out.batch(index))
            losses = module.losses(batch, turn_weight=self.turn_weight)
            losses["loss"] = losses["text_image"] + losses["audio"]  # as of every other stage
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + float(value) / count
        return self.place.add_up(totals)

    def show(self, module: nn.Module, folder: Path) -> None:
        """In one process: of a divided model each has only a part."""
        assert isinstance(module, Omni)
        if self.shows is not None and self.place.world_size == 1:
            for index, sample in enumerate(self.held_out.samples[:SHOWN]):
                self.shows(module, sample, folder, index)

    def export(self, module: nn.Module, folder: Path) -> None:
        save_file(module.state_dict(), folder / MODEL_FILE)
