"""The trunk again, for sessions: rows that continue a cache, the same numbers without modules.

At nano size a third of a row's time goes into calling modules, which training does not feel and
a session does. So training runs `Transformer`, sessions run this, on the same weights, and a test
holds the two together.

Shapes: B sessions, T new rows, S slots in use, G key-value heads, M heads of a group (its query
heads, its key, its value), E head width, D = d_model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from quintet.model.attention import Attention
from quintet.model.cache import KVCache, Place
from quintet.model.transformer import Transformer


@dataclass(frozen=True)
class Trunk:
    """The weights of a transformer, layer by layer, as they are: nothing is copied."""

    layers: tuple[tuple[Tensor, ...], ...]
    norm: Tensor
    group: int  # M
    head_width: int  # E

    @classmethod
    def of(cls, transformer: Transformer) -> Trunk:
        blocks: list[Any] = list(transformer.layers)  # whose types a ModuleList forgets
        attention = blocks[0].attention
        assert type(attention) is Attention, "another attention needs another decoding"
        return cls(
            tuple(
                (
                    block.attention_norm.weight,
                    block.attention.query_key_value.weight,
                    block.attention.query_norm.weight,
                    block.attention.key_norm.weight,
                    block.attention.output.weight,
                    block.feed_forward_norm.weight,
                    block.feed_forward.gate.weight,
                    block.feed_forward.up.weight,
                    block.feed_forward.down.weight,
                )
                for block in blocks
            ),
            transformer.norm.weight, attention.group, attention.head_width,
        )  # fmt: skip

    def extend(self, x_BTD: Tensor, cache: KVCache, place: Place) -> Tensor:
        """Hidden vectors [B, T, D] of new rows, whose keys and values are written at `place`."""
        batch, rows, width = x_BTD.shape
        size, heads = (width,), (batch, rows, -1, self.group, self.head_width)
        mask, causal = place.mask, place.is_causal
        for index, weights in enumerate(self.layers):
            norm, qkv, query_norm, key_norm, output, ff_norm, gate, up, down = weights
            heads_BTGME = F.linear(F.rms_norm(x_BTD, size, norm), qkv).view(heads)
            normed = F.rms_norm(heads_BTGME[..., :-1, :], (self.head_width,))
            q_BHTE = (normed[..., :-1, :] * query_norm).flatten(2, 3).transpose(1, 2)
            k_BTGE, v_BTGE = normed[..., -1, :] * key_norm, heads_BTGME[..., -1, :]
            cache.write(index, k_BTGE, v_BTGE, place)
            k_BGSE, v_BGSE = cache.read(index, place)
            y_BHTE = F.scaled_dot_product_attention(
                q_BHTE, k_BGSE, v_BGSE, mask, is_causal=causal, enable_gqa=True
            )
            x_BTD = x_BTD + F.linear(y_BHTE.transpose(1, 2).flatten(2), output)
            normed = F.rms_norm(x_BTD, size, ff_norm)
            x_BTD = x_BTD + F.linear(
                F.silu(F.linear(normed, gate)).mul_(F.linear(normed, up)), down
            )
        return F.rms_norm(x_BTD, size, self.norm)
