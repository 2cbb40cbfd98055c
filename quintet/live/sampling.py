"""Choosing an entry from logits."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """Temperatures by modality; 0 takes the likeliest entry. `top_p` trims the unlikely tail.

    Speech under way falls silent in a live step where `No Output` is likelier than `yield_above`:
    to talk on over somebody is worse than to break off once too often. With 1 it is drawn like any
    other entry.
    """

    text_temperature: float = 0.0
    image_temperature: float = 0.3
    audio_temperature: float = 0.3
    top_p: float = 0.9
    yield_above: float = 0.3


def choose(logits_NV: Tensor, temperature: float, top_p: float, uniform: float) -> Tensor:
    """An entry [N] for each row of logits: of the likeliest ones, down to that by which their
    probabilities first exceed `top_p`, the one where `uniform`, in [0, 1), of their sum is
    reached."""
    if not logits_NV.amax(-1).isfinite().all():
        raise FloatingPointError("The model's logits are no numbers, so nothing can be chosen.")
    if temperature <= 0:
        return logits_NV.argmax(-1)
    device, logits_NV = logits_NV.device, logits_NV.float().cpu()  # alike on every device
    probabilities = (logits_NV / temperature).softmax(-1)
    probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities.masked_fill(before > top_p, 0.0)
    reached = kept.cumsum(-1)
    place = (reached <= float(uniform) * reached[:, -1:]).sum(-1, keepdim=True)
    last = (kept > 0).sum(-1, keepdim=True) - 1
    return order.gather(-1, place.minimum(last))[:, 0].to(device)
