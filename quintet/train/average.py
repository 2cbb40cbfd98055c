"""Averages of a module's weights over the last steps, which are better than the last weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

AVERAGE = 0.999  # decay, per step, of the weights that are kept


def average_of(module: nn.Module) -> AveragedModel:
    """A copy that follows `module` by moving averages of its weights (`update_parameters`), early
    ones short, so that the beginning is soon forgotten. Buffers are copied."""

    @torch.no_grad()
    def follow(averages: Any, weights: Any, count: Any) -> None:
        decay = min(AVERAGE, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, weights, 1 - decay)

    average = AveragedModel(module, multi_avg_fn=follow)
    average.requires_grad_(False)
    return average
