"""Attention of whole lines on a CPU as one compiled function, with its gradients.

Half of the time that PyTorch's kernels take (docs/log.md, 2026-11-29).

Shapes: B batch, T rows, H query heads, G key-value heads, E head width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

LEAST_WORK = 1_000_000  # pairs of rows, of all heads; below, the calls cost more than they save
LANES = 16  # numbers of the widest register, of which heads are whole ones


def suits(q: Tensor, k: Tensor, mask: Tensor | None) -> bool:
    """Whether lines, as `attention.attend` has them, may take this way."""
    batch, heads, rows, width = q.shape
    return (
        type(q) is Tensor  # whole, here, and with numbers
        and q.device.type == "cpu"
        and q.dtype == torch.float32
        and k.shape[2] == rows
        and width % LANES == 0
        and batch * heads * rows * rows >= LEAST_WORK
        and (mask is None or (mask.dtype == torch.bool and mask.shape == (batch, 1, rows, rows)))
    )


def attend_whole(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """[B, H, T, E], of keys and values [B, G, T, E]; float32, on a CPU."""
    y_BTHE: Tensor
    y_BTHE, _ = _attend(*(x.transpose(1, 2) for x in (q, k, v)), mask)
    return y_BTHE.transpose(1, 2)


def _numbers(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


def _seen(mask_B1TT: Tensor | None) -> np.ndarray | None:
    return None if mask_B1TT is None else _numbers(mask_B1TT[:, 0])


@torch.library.custom_op("quintet::attend_whole", mutates_args=())
def _attend(
    q_BTHE: Tensor, k_BTGE: Tensor, v_BTGE: Tensor, mask_B1TT: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What is attended to, and of each row and head [B, H, T] the log of its normalizer."""
    from quintet.compiled.attention import forward  # compiled where it is first asked for

    q, k, v = map(_numbers, (q_BTHE, k_BTGE, v_BTGE))
    lines = forward(q, k, v, _seen(mask_B1TT), torch.get_num_threads())
    return torch.from_numpy(lines.y_BTHE), torch.from_numpy(lines.log_BHT)


@_attend.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    batch, rows, heads, _ = q.shape
    return q.new_empty(q.shape), q.new_empty(batch, heads, rows)


@torch.library.custom_op("quintet::attend_whole_backward", mutates_args=())
def _slopes(
    q_BTHE: Tensor, k_BTGE: Tensor, v_BTGE: Tensor, mask_B1TT: Tensor | None, y_BTHE: Tensor,
    log_BHT: Tensor, for_y_BTHE: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of queries, keys and values."""
    from quintet.compiled.attention import Lines, backward, causal

    q, k, v, y, log, for_y = map(_numbers, (q_BTHE, k_BTGE, v_BTGE, y_BTHE, log_BHT, for_y_BTHE))
    seen = _seen(mask_B1TT)
    lines = Lines(q, k, v, causal(q.shape[1]) if seen is None else seen, y, log)
    _, *made = backward(lines, for_y, torch.get_num_threads())
    for_q, for_k, for_v = map(torch.from_numpy, made)
    return for_q, for_k, for_v


@_slopes.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *given: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _keep(ctx: Any, inputs: tuple[Tensor | None, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _gradients(ctx: Any, for_y_BTHE: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *_slopes(*ctx.saved_tensors, for_y_BTHE), None


_attend.register_autograd(_gradients, setup_context=_keep)
