"""Think: products whose running sums are told to an inner layer, and never written.

A transformer that has learned to multiply without a word holds, in its middle, the running sum of
each place of the product: all products of digits that fall there, and what is carried into it. One
that is only shown the answers does not come upon it (Bai et al. 2025, arXiv 2510.00184). Here a
probe reads that sum from the hidden vector of a layer, where a digit of the answer is asked for,
and both learn; then the probe is thrown away. They fit the sum as a number; here its last digit
and what is carried on are two choices.

Data: long multiplications, new ones at every step. Flag 1 on the answer, and loss there only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from quintet import train
from quintet.config import UserError, counted
from quintet.data.reasoning import FreshProducts, most_carried
from quintet.model.omni import Batch, Omni
from quintet.settings import Count, Range
from quintet.stages.context import MODEL_FILE, Context
from quintet.stages.internalize import ANSWERED, InternalizeTask, Removal, maker_of
from quintet.train import TrainConfig

SETTINGS = {
    "train": TrainConfig, "start_from": str, "digits": Annotated[int, Range(1, 9)], "layer": Count,
}  # fmt: skip
DIGITS, PROBE = 3, "sums"  # unless set; the probe's name in the module


class SumProbe(nn.Module):
    """Hidden vectors [N, D] -> logits of a sum's last digit [N, 10], and of what is carried."""

    def __init__(self, width: int, digits: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.last = nn.Linear(width, 10)
        self.carried = nn.Linear(width, 1 + most_carried(digits))

    def loss(self, hidden_ND: Tensor, sums_N: Tensor) -> Tensor:
        """Cross-entropy of both, in nats a sum."""
        normed_ND = self.norm(hidden_ND)
        carried = F.cross_entropy(self.carried(normed_ND).float(), sums_N // 10)
        return F.cross_entropy(self.last(normed_ND).float(), sums_N % 10) + carried


class ThinkTask(InternalizeTask):
    """Learns answers, and at the same rows the sums behind them from the `layer`-th block on.

    Args:
        fresh: makes the batches.
    """

    replayed = False  # the sums belong to the step

    def __init__(self, *args: Any, layer: int, fresh: FreshProducts, **settings: Any) -> None:
        super().__init__(*args, fresh=fresh, **settings)
        self.layer, self.products = layer, fresh
        self.heard_BTD: Tensor | None = None  # what the layer gave for the batch at hand

    def record(self) -> dict[str, Any]:
        return super().record() | {"layer": self.layer}

    def module(self) -> nn.Module:
        model = super().module()
        assert isinstance(model, Omni)
        model.add_module(PROBE, SumProbe(self.preset.model.d_model, self.products.digits))
        model.transformer.layers[self.layer - 1].register_forward_hook(self._hear)
        return model

    def _hear(self, block: nn.Module, given: object, made_BTD: Tensor) -> None:
        self.heard_BTD = made_BTD

    def losses(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        losses, probe = super().losses(module, batch, step), getattr(module, PROBE)
        assert self.heard_BTD is not None and isinstance(probe, SumProbe)
        # The first questions of each sample are for the digits of its answer.
        asked_BQ = batch.text_at.view(len(self.heard_BTD), -1)[:, : 2 * self.products.digits]
        heard_ND, self.heard_BTD = self.heard_BTD.flatten(0, 1)[asked_BQ.flatten()], None
        sums_N = torch.from_numpy(self.products.sums(step).reshape(-1)).to(heard_ND.device)
        told = probe.loss(heard_ND, sums_N)
        return losses | {"sums": told, "loss": losses["loss"] + told}

    def export(self, module: nn.Module, folder: Path) -> None:
        kept = {k: v for k, v in module.state_dict().items() if not k.startswith(f"{PROBE}.")}
        save_file(kept, folder / MODEL_FILE)


def check(context: Context) -> None:
    blocks = context.preset.model.num_layers
    if context.settings.get("layer", 1) > blocks:
        raise UserError(
            f"Stage {context.name!r} has layer = {context.settings['layer']} and the preset "
            f"{context.preset.name!r} {counted(blocks, 'layer')}; choose one of these."
        )


def run(context: Context) -> dict[str, float]:
    config, settings = context.train, context.settings
    maker, digits = maker_of(context), settings.get("digits", DIGITS)
    if len(maker.text.encode("0123456789")) != 10:
        raise UserError(
            f"Stage {context.name!r} needs an entry for each digit, and the text tokenizer has "
            'some for several; give the stage text_tokenizer characters = "0123456789*+()#".'
        )
    fresh = FreshProducts(maker, digits, "train", config.batch_size, config.seed)
    answered = max(ANSWERED, config.batch_size)
    samples, start = fresh.batch(0), settings.get("start_from")
    longest = max(len(maker.reasoning_rows(sample)) for sample in samples)
    task = ThinkTask(
        context.preset, config, samples,
        FreshProducts(maker, digits, "test", answered, config.seed).batch(0),
        start_from=context.start(start) if start else None, maker=maker, fresh=fresh,
        removal=Removal("none", longest, explicit_steps=0, steps_between=1, rows_at_once=1),
        layer=settings.get("layer", -(-3 * context.preset.model.num_layers // 4)),
    )  # fmt: skip
    return train.run(task, config, context.folder, context.name)
