"""The trunk again, for sessions: rows that continue a cache, the same numbers without modules.

Training runs `Transformer`; sessions run this, on the same weights, in one of two ways. A few rows
in float32 on the CPU, of which nearly all of a session consists, are one call of what is compiled
(`fused`). Many rows, a GPU and other precisions take PyTorch's operators. A test holds all three
together.

Shapes: B sessions, T new rows, N of them in all, S slots in use, G key-value heads, M heads of a
group (its query heads, its key, its value), E head width, P = E / 2 pairs of it, D = d_model.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintet.model import fused
from quintet.model.attention import Attention
from quintet.model.cache import FREE, KVCache, Place
from quintet.model.rotary import turn
from quintet.model.transformer import Transformer
from quintet.products import linear

FEW = 32  # rows of a session; for more, PyTorch's products are the faster
WORTH = 8  # rows from which on another thread pays


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

    @cached_property
    def arrays(self) -> tuple[tuple[np.ndarray, ...], ...]:
        """For each kind of weight, those of all layers, in the same memory."""
        return tuple(
            tuple(weight.detach().numpy() for weight in kind)
            for kind in zip(*self.layers, strict=True)
        )

    @torch.no_grad()
    def extend(
        self, x_BTD: Tensor, cache: KVCache, place: Place, turns_BTP2: Tensor | None = None
    ) -> Tensor:
        """Hidden vectors [B, T, D] of new rows, whose keys and values are written at `place`."""
        is_plain = x_BTD.device.type == "cpu" and all(
            kind == torch.float32 for kind in (x_BTD.dtype, self.norm.dtype, cache.keys.dtype)
        )
        if is_plain and x_BTD.shape[1] <= FEW:
            return self._extend_by_few(x_BTD, cache, place, turns_BTP2)
        return self._extend_by_many(x_BTD, cache, place, turns_BTP2)

    def _extend_by_few(
        self, x_BTD: Tensor, cache: KVCache, place: Place, turns_BTP2: Tensor | None
    ) -> Tensor:
        """Rows that are nobody's are left out, and come back as zeros."""
        is_row_BT = place.order_BT != FREE
        session_N, row_N = np.nonzero(is_row_BT)
        x_ND, slot_N = x_BTD.detach().numpy()[session_N, row_N], place.slots_BT[is_row_BT]
        if turns_BTP2 is None:
            turns_NP2 = np.empty((len(x_ND), 0, 2), np.float32)
        else:
            turns_NP2 = turns_BTP2.numpy()[session_N, row_N]

        def extend(rows: slice) -> np.ndarray:
            hidden: np.ndarray = fused.extend(
                x_ND[rows], self.arrays, self.norm.detach().numpy(), *cache.arrays,
                session_N[rows], slot_N[rows], cache.order, turns_NP2[rows], self.group,
            )  # fmt: skip
            return hidden

        pieces = _pieces(session_N, min(torch.get_num_threads(), len(x_ND) // WORTH))
        others = [_threads.submit(extend, rows) for rows in pieces[1:]]
        hidden_BTD = torch.zeros_like(x_BTD)
        made = [extend(pieces[0]), *[other.result() for other in others]]
        hidden_BTD.numpy()[session_N, row_N] = np.concatenate(made)
        return hidden_BTD

    def _extend_by_many(
        self, x_BTD: Tensor, cache: KVCache, place: Place, turns_BTP2: Tensor | None
    ) -> Tensor:
        batch, rows, width = x_BTD.shape
        size, heads = (width,), (batch, rows, -1, self.group, self.head_width)
        causal = place.is_alone and rows > 1
        mask = None if place.is_alone else cache.mask(place)
        storage_N, seen = cache.storage(place), cache.seen
        for index, weights in enumerate(self.layers):
            norm, qkv, query_norm, key_norm, output, ff_norm, gate, up, down = weights
            heads_BTGME = linear(F.rms_norm(x_BTD, size, norm), qkv).view(heads)
            normed = F.rms_norm(heads_BTGME[..., :-1, :], (self.head_width,))
            q_BTGHE, k_BTGE = normed[..., :-1, :] * query_norm, normed[..., -1, :] * key_norm
            if turns_BTP2 is not None:
                q_BTGHE, k_BTGE = turn(q_BTGHE, turns_BTP2), turn(k_BTGE, turns_BTP2)
            cache.write(index, k_BTGE, heads_BTGME[..., -1, :], storage_N)
            k_BGSE, v_BGSE = cache.read(index, seen)
            y_BHTE = F.scaled_dot_product_attention(
                q_BTGHE.flatten(2, 3).transpose(1, 2), k_BGSE, v_BGSE, mask, is_causal=causal,
                enable_gqa=True,
            )  # fmt: skip
            x_BTD = x_BTD + linear(y_BHTE.transpose(1, 2).flatten(2), output)
            normed = F.rms_norm(x_BTD, size, ff_norm)
            x_BTD = x_BTD + linear(F.silu(linear(normed, gate)).mul_(linear(normed, up)), down)
        return F.rms_norm(x_BTD, size, self.norm)


_threads = ThreadPoolExecutor(thread_name_prefix="decode")


def _pieces(session_N: np.ndarray, count: int) -> list[slice]:
    """Rows in at most so many pieces of like size, none within a session, which come in order."""
    first_N = np.flatnonzero(np.diff(session_N, prepend=-1))  # of each session
    wanted = np.arange(1, count) * len(session_N) // max(count, 1)
    cuts = first_N[np.minimum(np.searchsorted(first_N, wanted), len(first_N) - 1)]
    edges = np.unique([0, *cuts, len(session_N)])
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]
