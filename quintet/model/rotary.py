"""Rotations of queries and keys by their place in the sequence and by their time.

Half of a head's pairs turn with the place in the live order, half with the step of the clock
(Su et al. 2021, of one axis), so that a product of query and key tells how far apart the two rows
lie, in rows and in time. A function of absolute numbers, so keys are turned once and stay in a
cache as they are.

Shapes: B batch, T rows, M heads, in one axis or more, E head width, P = E / 2 pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quintet.model.embedding import LONGEST, SHORTEST


def turns(place_BT: Tensor, step_BT: Tensor, head_width: int) -> Tensor:
    """float32 [B, T, P, 2]: cosine and sine of each pair's angle."""
    pairs = head_width // 2
    angles_BTP = torch.cat(
        [_angles(place_BT, pairs - pairs // 2), _angles(step_BT, pairs // 2)], dim=-1
    )
    return torch.stack([angles_BTP.cos(), angles_BTP.sin()], dim=-1)


def _angles(values_BT: Tensor, pairs: int) -> Tensor:
    """Whole turns are taken off in float64: an hour's places would lose the fast ones."""
    device = values_BT.device
    exponents = torch.linspace(SHORTEST, LONGEST, pairs, dtype=torch.float64, device=device)
    return (2 * torch.pi * (values_BT[..., None] / 2**exponents).frac()).float()


def turn(x_BTME: Tensor, turns_BTP2: Tensor) -> Tensor:
    """Heads [B, T, ..., E], their neighbouring places as pairs, turned; in the dtype of `x`."""
    between = (1,) * (x_BTME.ndim - 3)
    cos, sin = turns_BTP2.unflatten(1, (-1, *between)).unbind(-1)
    first, second = x_BTME.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.flatten(-2).to(x_BTME.dtype)
