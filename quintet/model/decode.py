"""The trunk again, for sessions: rows that continue a cache, the same numbers without modules.

Training runs `Transformer`; sessions run this, on the same weights, in one of two ways. A few rows
in float32 on the CPU, of which nearly all of a session consists, are one compiled call a layer
(`fused`). Many rows, a GPU and other precisions take PyTorch's operators. A test holds all three
together.

Shapes: B sessions, T new rows, N of them in all, S slots in use, G key-value heads, M heads of a
group (its query heads, its key, its value), E head width, P = E / 2 pairs of it, D = d_model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintet.kept import Kept
from quintet.model.attention import Attention
from quintet.model.cache import FREE, KVCache, Place
from quintet.model.rotary import turn
from quintet.model.transformer import Transformer
from quintet.products import linear

FEW = 32  # rows of a session; for more, PyTorch's products are the faster
NARROW = 512  # d_model up to which they are not with several threads, of which a session takes one
WORTH = 8  # rows from which on another thread pays


class _Layer(Kept):
    """The weights of a layer as compiled functions take them."""

    def __init__(self, *weights: Tensor) -> None:
        from quintet.compiled.panels import pack_for_few  # Numba, which takes a second to load

        super().__init__(*weights)
        norm, qkv, query_norm, key_norm, output, ff_norm, gate, up, down = (
            weight.detach().numpy() for weight in weights
        )
        norms = (norm, query_norm, key_norm, ff_norm)
        self.arrays = norms + tuple(map(pack_for_few, (qkv, output, gate, up, down)))


@dataclass(frozen=True)
class Trunk:
    """The weights of a transformer, layer by layer, as they are; what few rows take is made of
    them, and made anew when they change."""

    layers: tuple[tuple[Tensor, ...], ...]
    norm: Tensor
    group: int  # M
    head_width: int  # E
    _kept: list[_Layer] = field(default_factory=list, compare=False)

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
        is_plain = x_BTD.device.type == "cpu" and all(
            kind == torch.float32 for kind in (x_BTD.dtype, self.norm.dtype, cache.keys.dtype)
        )
        is_fast = x_BTD.shape[1] <= FEW and (
            x_BTD.shape[2] <= NARROW or torch.get_num_threads() == 1
        )
        if is_plain and is_fast and not self.norm.is_inference():
            return self._extend_by_few(x_BTD, cache, place, turns_BTP2)
        return self._extend_by_many(x_BTD, cache, place, turns_BTP2)

    def _extend_by_few(
        self, x_BTD: Tensor, cache: KVCache, place: Place, turns_BTP2: Tensor | None
    ) -> Tensor:
        """Rows that are nobody's are left out, and come back as zeros."""
        from quintet.compiled.threads import side_by_side  # Numba, which takes a second to load
        from quintet.model import fused

        self._check(x_BTD, cache, turns_BTP2)
        is_row_BT = place.order_BT != FREE
        session_N, row_N = map(np.ascontiguousarray, np.nonzero(is_row_BT))
        x_ND, slot_N = x_BTD.detach().numpy()[session_N, row_N], place.slots_BT[is_row_BT]
        if turns_BTP2 is None:
            turns_NP2 = np.empty((len(x_ND), 0, 2), np.float32)
        else:
            turns_NP2 = turns_BTP2.numpy()[session_N, row_N]
        layers, norm_D = self._arrays(), self.norm.detach().numpy()
        stores = list(zip(cache.keys.numpy(), cache.values.numpy(), strict=True))

        def extend(rows: slice) -> np.ndarray:
            of_rows = (session_N[rows], slot_N[rows], cache.order, turns_NP2[rows])
            for layer, store in zip(layers, stores, strict=True):
                fused.extend_layer(x_ND[rows], *layer, *store, *of_rows)
            hidden: np.ndarray = fused.normalize(x_ND[rows], norm_D)
            return hidden

        hidden_BTD = torch.zeros_like(x_BTD)
        pieces = _pieces(session_N, min(torch.get_num_threads(), len(x_ND) // WORTH))
        made = side_by_side([partial(extend, rows) for rows in pieces])
        if made:
            hidden_BTD.numpy()[session_N, row_N] = np.concatenate(made)
        return hidden_BTD

    def _arrays(self) -> list[tuple[np.ndarray, ...]]:
        """The weights of each layer, as they are now."""
        kept: list[_Layer | None] = [*self._kept] or [None] * len(self.layers)
        now = [
            known if known is not None and known.fits(*weights) else _Layer(*weights)
            for known, weights in zip(kept, self.layers, strict=True)
        ]
        if any(layer is not known for layer, known in zip(now, kept, strict=True)):
            self._kept[:] = now  # whole at once, as other threads may look
        return [layer.arrays for layer in now]

    def _check(self, x_BTD: Tensor, cache: KVCache, turns_BTP2: Tensor | None) -> None:
        """What is compiled checks no index."""
        layers, _, groups, _, head = cache.keys.shape
        assert x_BTD.shape[2] == len(self.norm), "rows of another width"
        fits = (layers, head) == (len(self.layers), self.head_width)
        assert fits and groups * self.group * head == len(self.layers[0][1]), "another cache"
        assert turns_BTP2 is None or 2 * turns_BTP2.shape[2] <= head, "more pairs than a head has"

    def _extend_by_many(
        self, x_BTD: Tensor, cache: KVCache, place: Place, turns_BTP2: Tensor | None
    ) -> Tensor:
        causal = place.is_alone and x_BTD.shape[1] > 1
        mask = None if place.is_alone else cache.mask(place)

        def attend(q_BTGHE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor) -> Tensor:
            y_BHTE = F.scaled_dot_product_attention(
                q_BTGHE.flatten(2, 3).transpose(1, 2), k_BGSE, v_BGSE, mask, is_causal=causal,
                enable_gqa=True,
            )  # fmt: skip
            return y_BHTE.transpose(1, 2).flatten(2)

        return self.run(x_BTD, cache, cache.storage(place), cache.seen, turns_BTP2, attend)

    def run(
        self,
        x_BTD: Tensor,
        cache: KVCache,
        storage_N: Tensor,
        seen: int,
        turns_BTP2: Tensor | None,
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """By PyTorch's operators, without a look at any number: keys and values go to `storage_N`,
        and `attend` is given those of the first `seen` slots."""
        size, heads = (x_BTD.shape[2],), (*x_BTD.shape[:2], -1, self.group, self.head_width)
        for index, weights in enumerate(self.layers):
            norm, qkv, query_norm, key_norm, output, ff_norm, gate, up, down = weights
            heads_BTGME = linear(F.rms_norm(x_BTD, size, norm), qkv).view(heads)
            normed = F.rms_norm(heads_BTGME[..., :-1, :], (self.head_width,))
            q_BTGHE, k_BTGE = normed[..., :-1, :] * query_norm, normed[..., -1, :] * key_norm
            if turns_BTP2 is not None:
                q_BTGHE, k_BTGE = turn(q_BTGHE, turns_BTP2), turn(k_BTGE, turns_BTP2)
            cache.write(index, k_BTGE, heads_BTGME[..., -1, :], storage_N)
            x_BTD = x_BTD + linear(attend(q_BTGHE, *cache.read(index, seen)), output)
            normed = F.rms_norm(x_BTD, size, ff_norm)
            x_BTD = x_BTD + linear(F.silu(linear(normed, gate)).mul_(linear(normed, up)), down)
        return F.rms_norm(x_BTD, size, self.norm)


def _pieces(session_N: np.ndarray, count: int) -> list[slice]:
    """Rows in at most so many pieces of like size, none within a session, which come in order."""
    if count < 2 or not len(session_N):  # as with one thread, or for one session
        return [slice(0, len(session_N))] if len(session_N) else []
    first_N = np.flatnonzero(np.diff(session_N, prepend=-1))  # of each session
    wanted = np.arange(1, count) * len(session_N) // count
    cuts = first_N[np.minimum(np.searchsorted(first_N, wanted), len(first_N) - 1)]
    edges = np.unique([0, *cuts, len(session_N)])
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]
