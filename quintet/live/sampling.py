"""Choosing an entry from logits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from numbers import Real

from torch import Tensor

from quintet.config import UserError

COLD, HOTTEST = 1e-3, 1e3  # temperatures: below the first the likeliest entry is taken, as with 0
NEVER = 1.0  # of `yield_above`


@dataclass(frozen=True)
class Sampling:
    """Temperatures by modality; 0 takes the likeliest entry. `top_p` trims the unlikely tail.

    In a live session, speech that was under way in the step before goes silent where the first
    question to the audio head gives `No Output` a probability (at temperature 1, of all entries) of
    more than `yield_above`: so the model stops for more of those who interrupt it, and for some who
    only agree (docs/log.md has how many). With 1 (`NEVER`), `No Output` is chosen like any other
    entry, as it always is in turn mode.

    Raises:
        UserError: a temperature is no number from 0 to 1,000, or another none from 0 to 1.
    """

    text_temperature: float = 0.0
    image_temperature: float = 0.3
    audio_temperature: float = 0.3
    top_p: float = 0.9
    yield_above: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            most = HOTTEST if name.endswith("temperature") else 1
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= most:
                raise UserError(f"{name} is {value!r}; choose a number from 0 to {most:g}.")


def is_cold(temperature: float) -> bool:
    """Whether the likeliest entry is taken, which needs no draw."""
    return temperature < COLD


def not_chosen() -> FloatingPointError:
    """What is raised where nothing can be chosen."""
    return FloatingPointError("The model's logits are no numbers, so nothing can be chosen.")


def choose(logits_NV: Tensor, temperature: float, top_p: float, uniform: float) -> Tensor:
    """An entry [N] for each row of logits: of the likeliest ones, down to that by which their
    probabilities first exceed `top_p`, the one where `uniform`, in [0, 1), of their sum is
    reached."""
    if not logits_NV.amax(-1).isfinite().all():
        raise not_chosen()
    if is_cold(temperature):
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
