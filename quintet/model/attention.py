"""Grouped-query attention with QK-norm, and its key-value cache.

Shapes: B batch, T new rows, S rows seen, H query heads, G key-value heads, E head width,
D = d_model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintet.config import ModelConfig


class LayerCache:
    """Keys and values of one layer, [B, G, max_rows, E], filled from the front."""

    def __init__(self, config: ModelConfig, batch: int, max_rows: int) -> None:
        width = config.d_model // config.num_heads
        self.keys = torch.zeros(batch, config.num_kv_heads, max_rows, width)
        self.values = torch.zeros_like(self.keys)

    def append(self, keys: Tensor, values: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Write after `length` rows; all rows so far."""
        end = length + keys.shape[2]
        assert end <= self.keys.shape[2], "the key-value cache is full"
        self.keys[:, :, length:end] = keys
        self.values[:, :, length:end] = values
        return self.keys[:, :, :end], self.values[:, :, :end]

    def keep(self, index: Tensor) -> None:
        """Move the rows at `index` to the front."""
        self.keys[:, :, : len(index)] = self.keys[:, :, index]
        self.values[:, :, : len(index)] = self.values[:, :, index]


class HeadNorm(nn.RMSNorm):
    """RMSNorm in the dtype of its input: under autocast the weight follows the activations."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """[B, T, D] -> [B, T, D]. Order is in the embedding, so nothing is rotated or biased here."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_width = config.d_model // config.num_heads
        # Of one key-value head: its query heads, its key, its value.
        self.group = config.num_heads // config.num_kv_heads + 2
        width = config.num_kv_heads * self.group * self.head_width
        # Group after group, so that tensor parallelism can give each device whole groups.
        self.query_key_value = nn.Linear(config.d_model, width, bias=False)
        self.output = nn.Linear(config.d_model, config.d_model, bias=False)
        # Shared by all heads, so that tensor parallelism can replicate them.
        self.query_norm = HeadNorm(self.head_width)
        self.key_norm = HeadNorm(self.head_width)
        nn.init.zeros_(self.output.weight)

    def forward(
        self,
        x_BTD: Tensor,
        mask: Tensor | None = None,
        cache: LayerCache | None = None,
        length: int = 0,
    ) -> Tensor:
        """`mask` (bool [T, S] or [B, 1, T, S]) says who sees whom; None is plainly causal."""
        grouped = self.query_key_value(x_BTD).unflatten(-1, (-1, self.group, self.head_width))
        q, k, v = grouped.split([self.group - 2, 1, 1], dim=-2)
        q = self.query_norm(q.flatten(2, 3)).transpose(1, 2)
        k, v = self.key_norm(k.squeeze(3)).transpose(1, 2), v.squeeze(3).transpose(1, 2)
        if cache is not None:
            k, v = cache.append(k, v, length)
        y = _attend(q, k, v, mask)
        return self.output(y.transpose(1, 2).flatten(2))


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Plainly causal without a `mask`; [B, H, T, E] in the dtype of `q`."""
    causal = mask is None and q.shape[2] > 1
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=True)
    # Backward, the CPU's bfloat16 kernel takes twice as long as its float32 one.
    with torch.autocast("cpu", enabled=False):
        y = F.scaled_dot_product_attention(
            q.float(), k.float(), v.float(), mask, is_causal=causal, enable_gqa=True
        )
    return y.to(q.dtype)
