"""The trunk: pre-norm blocks of attention and SwiGLU, and the cache of a session.

Shapes: B batch, T new rows, S rows seen, D = d_model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintet.config import ModelConfig
from quintet.model.attention import Attention, LayerCache


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.d_feed_forward, bias=False)
        self.up = nn.Linear(config.d_model, config.d_feed_forward, bias=False)
        self.down = nn.Linear(config.d_feed_forward, config.d_model, bias=False)
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
        self, x_BTD: Tensor, mask: Tensor | None, cache: LayerCache | None, length: int
    ) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), mask, cache, length)
        return x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD))


class KVCache:
    """What a session remembers: keys and values of every layer, and the step of each row.

    `length` rows are filled; the first `prefix` of them are the system prompt and stay.
    """

    def __init__(self, config: ModelConfig, max_rows: int, batch: int = 1) -> None:
        self.layers = [LayerCache(config, batch, max_rows) for _ in range(config.num_layers)]
        self.steps = torch.zeros(max_rows, dtype=torch.long)
        self.max_rows = max_rows
        self.length = 0
        self.prefix = 0

    def advance(self, steps_T: Tensor) -> None:
        """Count rows whose keys and values the layers have just written."""
        self.steps[self.length : self.length + len(steps_T)] = steps_T
        self.length += len(steps_T)

    def make_room(self, rows: int) -> None:
        """Forget whole steps, the oldest first, until `rows` more fit.

        The window of a session is as many steps as the cache has room for: a live camera fills
        it long before its time is over.
        """
        assert rows + self.prefix <= self.max_rows, "one step must fit into the cache"
        excess = self.length + rows - self.max_rows
        if excess > 0:  # rows stand in the order of their steps
            self.slide(int(self.steps[self.prefix + excess - 1]) + 1)

    def slide(self, first_step: int) -> None:
        """Forget rows of steps before `first_step`, but not the system prompt."""
        steps = self.steps[: self.length]
        kept = (steps >= first_step) | (torch.arange(self.length) < self.prefix)
        if bool(kept.all()):
            return
        index = torch.nonzero(kept)[:, 0]
        for layer in self.layers:
            layer.keep(index)
        self.steps[: len(index)] = steps[index]
        self.length = len(index)


class Transformer(nn.Module):
    """[B, T, D] -> [B, T, D], normalized at the end."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.d_model)

    def forward(
        self, x_BTD: Tensor, mask: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        length = 0
        if cache is not None:
            length, rows = cache.length, x_BTD.shape[1]
            if rows > 1 and length > 0:  # new rows see all cached ones, and their own past
                new = torch.ones(rows, rows, dtype=torch.bool).tril()
                mask = torch.cat([new.new_ones(rows, length), new], dim=1)
        for index, layer in enumerate(self.layers):
            x_BTD = layer(x_BTD, mask, cache.layers[index] if cache else None, length)
        return self.norm(x_BTD)
