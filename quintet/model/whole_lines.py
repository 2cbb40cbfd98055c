"""Attention of whole lines on a CPU as one compiled function, with its gradients.

On the processor where it was measured it takes half the time of PyTorch's kernels, and two thirds
with a mask (docs/log.md, 2026-11-29). Gradients of gradients and `torch.func` are not for it.

Shapes: B batch, T rows, H query heads, G key-value heads, E head width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

LEAST_WORK = 1_000_000  # pairs of rows, of all heads; below, the calls cost more than they save
MULTIPLE = 16  # of so many numbers are heads: whole registers, on any processor


def suits(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> bool:
    """Whether lines, as `attention.attend` has them, may take this way."""
    (batch, heads, rows, width), groups = q.shape, k.shape[1]
    return (
        type(q) is Tensor  # whole, here, and with numbers
        and q.device.type == k.device.type == v.device.type == "cpu"
        and q.dtype == k.dtype == v.dtype == torch.float32
        and k.shape == v.shape == (batch, groups, rows, width)
        and width % MULTIPLE == 0
        and (mask is None or (mask.dtype == torch.bool and mask.shape == (batch, 1, rows, rows)))
        # A compiler would make variants for what depends on the size.
        and (torch.compiler.is_compiling() or _pays(batch, heads, rows, groups))
    )


def _pays(batch: int, heads: int, rows: int, groups: int) -> bool:
    enough = batch * heads * rows * rows >= LEAST_WORK
    return enough and 2 * batch * groups >= torch.get_num_threads()  # which share these


def attend_whole(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """[B, H, T, E], of keys and values [B, G, T, E]; what `suits`, of any size."""
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
    assert {x.dtype for x in (q, k, v)} == {np.dtype(np.float32)} and k.shape == v.shape
    assert q.shape[:2] == k.shape[:2] and q.shape[3] == k.shape[3], "other rows, or heads"
    assert q.shape[3] % MULTIPLE == 0 and q.shape[2] % k.shape[2] == 0, "no whole heads"
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
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*inputs, *output)


def _gradients(ctx: Any, for_y_BTHE: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *_slopes(*ctx.saved_tensors, for_y_BTHE), None


_attend.register_autograd(_gradients, setup_context=_keep)
