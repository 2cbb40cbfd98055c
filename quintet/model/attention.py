"""Grouped-query attention with QK-norm.

Shapes: B batch, T rows, S rows seen, N rows of a line, H query heads, G key-value heads,
E head width, P = E / 2 pairs of it, D = d_model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from quintet.config import ModelConfig
from quintet.model.rotary import turn
from quintet.model.whole_lines import attend_whole, suits
from quintet.products import Linear
from quintet.timeline.masks import Sight

Mask = Tensor | BlockMask  # bool [B, 1, T, S] (or what broadcasts to it), or blocks of it
SHORT = 1_024  # rows of a line
Attend = Callable[[Tensor, Tensor, Tensor, Mask | None], Tensor]


def dense_mask(sight: Sight, device: torch.device | str = "cpu") -> Tensor:
    """bool [B, 1, N, N], worked out where it is needed: what a CPU takes, and short lines."""
    if torch.device(device).type == "cpu":
        return torch.from_numpy(sight.dense())[:, None]
    batch, rows = sight.rank.shape
    line, row = torch.arange(batch, device=device), torch.arange(rows, device=device)
    seen: Tensor = _held(sight, device).may_see(line[:, None, None], row[:, None], row)
    return seen[:, None]


def _held(sight: Sight, device: torch.device | str) -> Sight:
    """With its columns as tensors on `device`."""
    columns = {name: torch.from_numpy(c).to(device) for name, c in sight.columns().items()}
    return Sight(**columns, window_steps=sight.window_steps)


def block_mask(sight: Sight, device: torch.device | str) -> BlockMask:
    """The same as blocks, of which a GPU's kernel skips the empty ones."""
    held = _held(sight, device)
    batch, rows = sight.rank.shape

    def may_see(b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Any:
        return held.may_see(b, query, key)

    # Uncompiled, it makes the dense mask first: 3 GB for a line of 16,384 rows.
    compiled = torch.device(device).type == "cuda"
    return create_block_mask(
        may_see, batch, None, rows, rows, device=str(device), _compile=compiled
    )


def mask_of(sight: Sight, device: torch.device) -> Mask:
    """In the form that is fast on `device`. Blocks have kernels of their own for each length of
    line, which take seconds to compile: they are for long lines."""
    short = sight.rank.shape[1] <= SHORT
    return dense_mask(sight, device) if device.type == "cpu" or short else block_mask(sight, device)


@functools.cache
def _flex(device: str) -> Any:
    """Compiled where it pays; on a CPU it serves to compare numbers, and has no backward."""
    return flex_attention if device == "cpu" else torch.compile(flex_attention)


class HeadScale(nn.Module):
    """A factor for each place of a head, the same for all heads, in the dtype of what it scales.
    A module, so that tensor parallelism can take hold of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.to(x.dtype)


class Attention(nn.Module):
    """[B, T, D] -> [B, T, D]. Order is in the embedding; with `turns` (`model.rotary`) it is in the
    angles of queries and keys besides."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        # Of one key-value head: its query heads, its key, its value.
        self.group = config.num_heads // config.num_kv_heads + 2
        width = config.num_kv_heads * self.group * self.head_width
        # Group after group, so that tensor parallelism can give each device whole groups.
        self.query_key_value = Linear(config.d_model, width)
        self.output = Linear(config.d_model, config.d_model)
        # Shared by all heads, so that tensor parallelism can replicate them.
        self.query_norm = HeadScale(self.head_width)
        self.key_norm = HeadScale(self.head_width)
        nn.init.zeros_(self.output.weight)
        self.attend: Attend = attend  # so that context parallelism can exchange rows around it

    def forward(
        self, x_BTD: Tensor, mask: Mask | None = None, turns_BTP2: Tensor | None = None
    ) -> Tensor:
        """`mask` says who sees whom; None is plainly causal."""
        y = self.attend(*self._project(x_BTD, turns_BTP2), mask)
        return self.output(y.transpose(1, 2).flatten(2))

    def _project(self, x_BTD: Tensor, turns_BTP2: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, T, E], keys and values [B, G, T, E], in one dtype: norms are float32 where
        a GPU has autocast."""
        grouped = self.query_key_value(x_BTD).unflatten(-1, (-1, self.group, self.head_width))
        # Queries and keys in one pass.
        normed = F.rms_norm(grouped[..., :-1, :], (self.head_width,))
        q, k = self.query_norm(normed[..., :-1, :]).flatten(2, 3), self.key_norm(normed[..., -1, :])
        if turns_BTP2 is not None:
            q, k = turn(q, turns_BTP2), turn(k, turns_BTP2)
        v = grouped[..., -1, :]
        return q.to(v.dtype).transpose(1, 2), k.to(v.dtype).transpose(1, 2), v.transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
    """[B, H, T, E] in the dtype of `q`, of keys and values [B, G, T, E]."""
    if isinstance(mask, BlockMask):
        made: Tensor = _flex(q.device.type)(q, k, v, block_mask=mask, enable_gqa=True)
        return made
    if q.device.type == "cuda" and mask is not None:  # whose kernels for masks know no groups
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    if q.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return _attend(q, k, v, mask)
    # In bfloat16, PyTorch's kernel for a CPU takes twice as long backward as in float32.
    with torch.autocast("cpu", enabled=False):
        return _attend(q.float(), k.float(), v.float(), mask).to(q.dtype)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    if suits(q, k, v, mask):
        return attend_whole(q, k, v, mask)
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, enable_gqa=True)
