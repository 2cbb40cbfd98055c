"""Choosing an entry from logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """Temperatures by modality; 0 takes the likeliest entry. `top_p` trims the unlikely tail."""

    text_temperature: float = 0.0
    image_temperature: float = 0.3
    audio_temperature: float = 0.3
    top_p: float = 0.9


def choose(
    logits_NV: Tensor, temperature: float, top_p: float, generator: torch.Generator
) -> Tensor:
    """An entry [N] for each row of logits."""
    if temperature <= 0:
        return logits_NV.argmax(-1)
    device = logits_NV.device
    logits_NV = logits_NV.cpu()  # where the generator is: the same choices on every device
    probabilities, order = (logits_NV / temperature).softmax(-1).sort(-1, descending=True)
    before = probabilities.cumsum(-1) - probabilities
    probabilities = probabilities.masked_fill(before > top_p, 0.0)
    picked = torch.multinomial(probabilities, 1, generator=generator)
    return order.gather(-1, picked)[:, 0].to(device)
