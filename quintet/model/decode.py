"""The trunk again, for sessions: rows that continue a cache, the same numbers without modules.

At nano size a third of a row's time goes into calling modules, which training does not feel and
a session does. So training runs `Transformer`, sessions run this, on the same weights, and a test
holds the two together.

Shapes: B sessions, T new rows, S slots in use, H query heads, G key-value heads, M heads of a group
(its query heads, its key, its value), E head width, P = E / 2 pairs of it, D = d_model; N = B * G,
R = T * H / G.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintet.model.attention import Attention
from quintet.model.cache import KVCache, Place
from quintet.model.rotary import turn, turn_few
from quintet.model.transformer import Transformer
from quintet.products import linear

# Rows of a session: up to so many, plain products take half to four fifths of the time of
# PyTorch's attention for the CPU, which is made for many.
FEW = 8
UNSEEN = -1e9  # added to a score, and nothing is left of it


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
        whole = all(type(p) is nn.Parameter for p in transformer.parameters())
        assert whole, "a model that is divided among devices holds no sessions"
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

    @torch.no_grad()
    def extend(
        self, x_BTD: Tensor, cache: KVCache, place: Place, turns_BTP2: Tensor | None = None
    ) -> Tensor:
        """Hidden vectors [B, T, D] of new rows, whose keys and values are written at `place`."""
        batch, rows, width = x_BTD.shape
        size, heads = (width,), (batch, rows, -1, self.group, self.head_width)
        mask, causal = place.mask, place.is_causal
        few = x_BTD.device.type == "cpu" and rows <= FEW and batch * rows > 2 and not causal
        if few and mask is not None:
            mask = torch.zeros(mask.shape).masked_fill(~mask, UNSEEN)
        turned = _turning(turns_BTP2, x_BTD.dtype)
        for index, weights in enumerate(self.layers):
            norm, qkv, query_norm, key_norm, output, ff_norm, gate, up, down = weights
            heads_BTGME = linear(F.rms_norm(x_BTD, size, norm), qkv).view(heads)
            normed = F.rms_norm(heads_BTGME[..., :-1, :], (self.head_width,))
            q_BHTE = turned(normed[..., :-1, :] * query_norm).flatten(2, 3).transpose(1, 2)
            k_BTGE, v_BTGE = turned(normed[..., -1, :] * key_norm), heads_BTGME[..., -1, :]
            cache.write(index, k_BTGE, v_BTGE, place)
            k_BGSE, v_BGSE = cache.read(index, place)
            if few:
                y_BHTE = _attend_to_few(q_BHTE, k_BGSE, v_BGSE, mask)
            else:
                y_BHTE = F.scaled_dot_product_attention(
                    q_BHTE, k_BGSE, v_BGSE, mask, is_causal=causal, enable_gqa=True
                )
            x_BTD = x_BTD + linear(y_BHTE.transpose(1, 2).flatten(2), output)
            normed = F.rms_norm(x_BTD, size, ff_norm)
            x_BTD = x_BTD + linear(F.silu(linear(normed, gate)).mul_(linear(normed, up)), down)
        return F.rms_norm(x_BTD, size, self.norm)


def _turning(turns_BTP2: Tensor | None, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """What turns queries and keys, if anything does."""
    if turns_BTP2 is None:
        return lambda x: x
    if dtype != torch.float32:
        return partial(turn, turns_BTP2=turns_BTP2)
    return partial(turn_few, turns_BTP=torch.view_as_complex(turns_BTP2))


def _attend_to_few(
    q_BHTE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor, added_B1TS: Tensor | None
) -> Tensor:
    """Attention [B, H, T, E], heads after heads of their group; `added_B1TS` goes onto scores."""
    (batch, heads, rows, width), (_, groups, slots, _) = q_BHTE.shape, k_BGSE.shape
    q_NRE = q_BHTE.reshape(batch * groups, -1, width) * width**-0.5
    scores_NRS = torch.bmm(q_NRE, k_BGSE.flatten(0, 1).transpose(1, 2))
    if added_B1TS is not None:
        scores_NRS.view(batch, heads, rows, slots).add_(added_B1TS)
    y_NRE = torch.bmm(scores_NRS.softmax(-1), v_BGSE.flatten(0, 1))
    return y_NRE.view(batch, heads, rows, width)
