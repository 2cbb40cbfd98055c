"""Steps as CUDA graphs: a small model leaves a GPU waiting for Python, which starts its thousands
of kernels one by one; a graph starts all of them at once.

A graph has one shape and reads fixed memory. So batches come in few shapes (`Batch.filled`), each
is recorded when it first comes, and afterwards a batch is copied to where the graph of its shape
reads. The gradients lie in one place for all of them; the optimizer is none of this. A parameter
that nothing of a shape asks for has none, as without graphs: the optimizer leaves it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from quintet.model.graphs import capture

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class _Recorded:
    batch: Any  # what the graph reads
    losses: Losses  # what it writes
    asked: list[bool]  # which parameters get a gradient
    replay: Callable[[], None]


class Replay:
    """Losses and gradients of a batch, as `losses(batch)` and a backward pass would have them.

    Args:
        losses: of a batch, a dataclass of tensors and of such dataclasses; its "loss" is learned.
            It may wait for nothing on the GPU.
    """

    def __init__(self, module: nn.Module, losses: Callable[[Any], Losses]) -> None:
        self.losses = losses
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.recorded: dict[tuple[torch.Size, ...], _Recorded] = {}
        self.gradients = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.pool: Any = None

    def __call__(self, batch: Any) -> Losses:
        tensors = _tensors(batch)
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes not in self.recorded:
            self.recorded[shapes] = self._record(_copy(batch))
        known = self.recorded[shapes]
        for place, tensor in zip(_tensors(known.batch), tensors, strict=True):
            place.copy_(tensor)
        self._lay_out(known.asked)
        known.replay()
        return known.losses

    def _record(self, batch: Any) -> _Recorded:
        self._lay_out([False] * len(self.parameters))
        self.losses(batch)["loss"].backward()
        asked = [parameter.grad is not None for parameter in self.parameters]
        self._lay_out(asked)

        def run() -> Losses:
            torch._foreach_zero_([p.grad for p in self.parameters if p.grad is not None])
            losses = self.losses(batch)
            losses["loss"].backward()
            return {name: loss.detach() for name, loss in losses.items()}

        self.pool = self.pool or torch.cuda.graph_pool_handle()
        losses, replay = capture(run, self.pool)
        return _Recorded(batch, losses, asked, replay)

    def _lay_out(self, asked: list[bool]) -> None:
        """Give the parameters that are asked for their gradients, and the others none."""
        for parameter, gradient, is_asked in zip(
            self.parameters, self.gradients, asked, strict=True
        ):
            parameter.grad = gradient if is_asked else None


def _tensors(batch: Any) -> list[Tensor]:
    """All of a batch, in order."""
    found: list[Tensor] = []
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            found.append(value)
        elif is_dataclass(value):
            found += _tensors(value)
        else:
            assert value is None, f"{field.name} is no tensor, which a graph could not read"
    return found


def _copy(batch: Any) -> Any:
    """With memory of its own."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(
        batch,
        **{
            name: value.clone() if isinstance(value, Tensor) else _copy(value)
            for name, value in values.items()
            if value is not None
        },
    )
