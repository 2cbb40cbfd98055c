"""The nearest code of each vector by products of bytes, where the processor adds four at once.

As `tokenizers.search`, of which it is the first resort: lower bounds of all distances, here of
whole groups of codes, and float64 for those that could still be nearest. The bounds are those of
`tokenizers.screens`; products of bytes are added without any error.

Shapes: N vectors, n of them in a block, K codes in G groups, D = latent_dim, E >= D bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from quintet.compiled.byte_products import GROUP, TOGETHER, largest, pack
from quintet.compiled.threads import side_by_side
from quintet.tokenizers.byte_loops import (
    MOST,
    Codes,
    Found,
    Vectors,
    guess,
    improve,
    to_bytes,
)
from quintet.tokenizers.screens import CODES

VECTORS = 12 * TOGETHER  # of a block: 1 MB of sums for 65,536 codes
CROWD = 256  # codes that are compared with a vector
WORTH = 2**14  # groups and vectors of a thread: a third of a millisecond at D = 128


class ByteSearch:
    """A codebook in bytes.

    Codes are centred on the codebook's mean and stand in the order of their norms, so that those
    of a group are alike: they share a scale, and the group's lowest norm and largest errors make
    of its largest product its lowest bound.
    """

    def __init__(self, codes_KD: Tensor, duplicate_K: Tensor) -> None:
        center_D = codes_KD.mean(0)
        square_K = torch.cat([(c - center_D).square().sum(1) for c in codes_KD.split(CODES)])
        code_K = square_K.argsort()
        norm_K = square_K[code_K].sqrt()
        half_K = (0.5 * norm_K.square()).masked_fill_(duplicate_K[code_K], torch.inf)
        parts = code_K.split(CODES)
        reach_K = torch.cat([(codes_KD[some] - center_D).abs().amax(1) for some in parts])
        step_G = _of_groups(reach_K, torch.amax) / MOST
        step_K = step_G.repeat_interleave(GROUP)[: len(codes_KD)]
        made = [
            _bytes(codes_KD[some] - center_D, step_k)
            for some, step_k in zip(parts, step_K.split(CODES), strict=True)
        ]
        bytes_KD, error_K = (torch.cat(some) for some in zip(*made, strict=True))
        bytes_KE = torch.nn.functional.pad(bytes_KD, (0, -bytes_KD.shape[1] % 4))
        lowest_G, largest = _of_groups(half_K, torch.amin), norm_K[-1]
        bounds = (_of_groups(norm_K, torch.amax), _of_groups(error_K, torch.amax))
        of_groups_4G = torch.stack([step_G, lowest_G, *bounds])
        self.center_D = center_D.numpy()
        self.usable = bool(1e-15 < largest < 1e15)  # beyond, squares leave the range of float32
        self.codes = Codes(
            codes_KD.contiguous().numpy(), pack(bytes_KE.numpy()), code_K.numpy(), half_K.numpy(),
            of_groups_4G.numpy(), largest.numpy()[()],
        )  # fmt: skip

    def nearest(self, vectors_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the nearest code of each vector [N], int64, of equally near ones the lowest;
        and which vectors [N] have too many codes around them to say."""
        found = [self._nearest(block_nD) for block_nD in vectors_ND.contiguous().split(VECTORS)]
        ids, crowded = (torch.cat(parts) for parts in zip(*found, strict=True))
        return ids, crowded

    def _nearest(self, vectors_nD: Tensor) -> tuple[Tensor, Tensor]:
        count, width = len(vectors_nD), self.codes.codes_GX.shape[1] // GROUP
        ids_n, crowded_n = np.zeros(count, np.int64), np.full(count, not self.usable)
        if not self.usable:
            return torch.from_numpy(ids_n), torch.from_numpy(crowded_n)
        padded = -(-count // TOGETHER) * TOGETHER
        rows_nE, starts_n = np.zeros((padded, width), np.int8), np.zeros(padded, np.int32)
        own_5n, found = np.zeros((5, count), np.float32), Found(ids_n, np.zeros(count), crowded_n)
        to_bytes(vectors_nD.numpy(), self.center_D, rows_nE, starts_n, own_5n, crowded_n)
        most_Gn = self._most(rows_nE, starts_n)
        vectors = Vectors(vectors_nD.numpy(), rows_nE, starts_n, own_5n, most_Gn)
        guess(self.codes, vectors, found)
        improve(self.codes, vectors, found, CROWD)
        return torch.from_numpy(ids_n), torch.from_numpy(crowded_n)

    def _most(self, rows_nE: np.ndarray, starts_n: np.ndarray) -> np.ndarray:
        """The largest product of each vector with a code of each group, int32 [G, n]."""
        codes_GX, groups = self.codes.codes_GX, len(self.codes.codes_GX)
        most_Gn = np.empty((groups, len(rows_nE)), np.int32)
        threads = min(torch.get_num_threads(), max(1, most_Gn.size // WORTH))
        borders = [groups * number // threads for number in range(threads + 1)]
        side_by_side([
            partial(largest, codes_GX[start:stop], rows_nE, starts_n, most_Gn[start:stop])
            for start, stop in pairwise(borders)
        ])  # fmt: skip
        return most_Gn


def _of_groups(values_K: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
    """What `reduce` makes of the values of each group, [G]."""
    padded_K = torch.cat([values_K, values_K[-1:].expand(-len(values_K) % GROUP)])
    return reduce(padded_K.view(-1, GROUP), 1)


def _bytes(vectors_nD: Tensor, step_n: Tensor) -> tuple[Tensor, Tensor]:
    """In bytes [n, D], each a number of steps; at most the norms of what that took [n]."""
    steps_nD = (vectors_nD / step_n.clamp(min=1e-30)[:, None]).round_().clamp_(-MOST, MOST)
    error_n = (vectors_nD - steps_nD * step_n[:, None]).square_().sum(1).sqrt()
    norm_n = vectors_nD.square().sum(1).sqrt()  # centring rounds in float32
    return steps_nD.to(torch.int8), error_n + 2.0**-21 * norm_n
