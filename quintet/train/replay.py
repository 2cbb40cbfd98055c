"""Steps as CUDA graphs: a small model leaves a GPU waiting for Python, which starts its thousands
of kernels one by one; a graph starts all of them at once.

A graph has one shape and reads fixed memory. So batches come in few shapes (`Batch.filled`), each
is recorded when it first comes, and afterwards a batch is copied to where the graph of its shape
reads. The gradients lie in one place for all of them; the optimizer is none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class _Recorded:
    batch: Any  # what the graph reads
    graph: torch.cuda.CUDAGraph
    losses: Losses  # what it writes


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
        self.pool = torch.cuda.graph_pool_handle()  # one graph runs at a time, so all share it

    def __call__(self, batch: Any) -> Losses:
        tensors = _tensors(batch)
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes not in self.recorded:
            self.recorded[shapes] = self._record(_copy(batch))
        known = self.recorded[shapes]
        for place, tensor in zip(_tensors(known.batch), tensors, strict=True):
            place.copy_(tensor)
        known.graph.replay()
        return known.losses

    def _record(self, batch: Any) -> _Recorded:
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        # Once without being recorded, beside what else the GPU does: libraries take their memory.
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            self._run(batch)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # The thread that makes batches goes on meanwhile.
        with torch.cuda.graph(graph, self.pool, capture_error_mode="thread_local"):
            losses = self._run(batch)
        return _Recorded(batch, graph, losses)

    def _run(self, batch: Any) -> Losses:
        torch._foreach_zero_([p.grad for p in self.parameters if p.grad is not None])
        losses = self.losses(batch)
        losses["loss"].backward()
        return {name: loss.detach() for name, loss in losses.items()}


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
