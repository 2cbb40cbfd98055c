"""Think: products of which an inner layer is told the running sums, and nothing is written.

Bai et al. (2025, arXiv 2510.00184) found in a transformer that multiplies without a word the
running sum of each place of the product: all products of digits that fall there, and what is
carried into it; and that one which is shown the answers alone does not come upon it, but does where
a probe has to read that sum from its layers. So a probe reads it here from the hidden vectors of
one layer, where a digit of the answer is asked for, and both learn; then the probe is thrown away.
They fit the sum as a number; here its last digit and what is carried on are two choices.

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
from quintet.stages.internalize import InternalizeTask, Removal, maker_of, products_of
from quintet.train import TrainConfig

SETTINGS = {
    "train": TrainConfig, "start_from": str, "digits": Annotated[int, Range(2, 9)], "layer": Count,
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
    """Learns answers, and at the same rows the sums behind them.

    Args:
        layer: counted from 1: the block from whose hidden vectors the probe reads.
        fresh: makes the batches.
    """

    replayed = False  # the sums belong to the step

    def __init__(self, *args: Any, layer: int, fresh: FreshProducts, **settings: Any) -> None:
        super().__init__(*args, fresh=fresh, **settings)
        self.layer, self.products = layer, fresh

    def record(self) -> dict[str, Any]:
        return super().record() | {"layer": self.layer}

    def module(self) -> nn.Module:
        model = super().module()
        model.add_module(PROBE, SumProbe(self.preset.model.d_model, self.products.digits))
        return model

    def losses(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        assert isinstance(module, Omni)
        made: list[Tensor] = []
        hook = module.transformer.layers[self.layer - 1].register_forward_hook(
            lambda block, given, made_BTD: made.append(made_BTD)
        )
        try:
            losses = super().losses(module, batch, step)
        finally:
            hook.remove()
        sums_BS = torch.from_numpy(self.products.sums(step)).to(batch.text_at.device)
        count, places = sums_BS.shape
        # Each sample asks for the digits of its answer, its end, and silence.
        assert len(batch.text_at) == count * (places + 2), "an answer of another length"
        asked_N = batch.text_at.view(count, -1)[:, :places].flatten()
        probe = getattr(module, PROBE)
        sums_loss = probe.loss(made[0].flatten(0, 1)[asked_N], sums_BS.flatten())
        return losses | {"sums": sums_loss, "loss": losses["loss"] + sums_loss}

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
    if context.train.together > 1:
        raise UserError(
            f"Stage {context.name!r} runs in one process; set tensor_parallel and "
            "context_parallel to 1 in its own table train."
        )


def digits_of(context: Context) -> int:
    return int(context.settings.get("digits", DIGITS))


def usual_layer(blocks: int) -> int:
    """At three quarters of all, so that some are left for the answer."""
    return max(1, 3 * blocks // 4)


def run(context: Context) -> dict[str, float]:
    settings, start = context.settings, context.settings.get("start_from")
    maker = maker_of(context)
    if any(len(maker.text.encode(f"{pair:02}")) != 2 for pair in range(100)):
        raise UserError(
            f"Stage {context.name!r} needs an entry for each digit, and the text tokenizer has "
            'some for several; give the stage text_tokenizer characters = "0123456789*+()#", or '
            "take the tokenizers of a model that has one for each, as nano has."
        )
    samples, tested, fresh = products_of(context, maker, digits_of(context))
    longest = max(len(maker.reasoning_rows(sample)) for sample in samples)
    task = ThinkTask(
        context.preset, context.train, samples, tested,
        start_from=context.start(start) if start else None, maker=maker, fresh=fresh,
        removal=Removal("none", longest, explicit_steps=0, steps_between=1, rows_at_once=1),
        layer=settings.get("layer", usual_layer(context.preset.model.num_layers)),
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
