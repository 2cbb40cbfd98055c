"""The trunk: pre-norm blocks of attention and SwiGLU.

Shapes: B batch, T rows, D = d_model, P pairs of a head.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from quintet.config import ModelConfig
from quintet.model.attention import Attention, Mask
from quintet.products import Linear


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Linear(config.d_model, config.d_feed_forward)
        self.up = Linear(config.d_model, config.d_feed_forward)
        self.down = Linear(config.d_feed_forward, config.d_model)
        nn.init.zeros_(self.down.weight)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD))


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.d_model)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.RMSNorm(config.d_model)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x_BTD: Tensor, mask: Mask | None = None, turns_BTP2: Tensor | None = None
    ) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), mask, turns_BTP2)
        return x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD))


class Transformer(nn.Module):
    """[B, T, D] -> [B, T, D], normalized at the end."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.d_model)

    def forward(
        self, x_BTD: Tensor, mask: Mask | None = None, turns_BTP2: Tensor | None = None
    ) -> Tensor:
        """`turns_BTP2`: of queries and keys, from `model.rotary`."""
        for layer in self.layers:
            x_BTD = layer(x_BTD, mask, turns_BTP2)
        return self.norm(x_BTD)
