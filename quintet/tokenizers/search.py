"""The nearest code of each vector: exact, in bounded memory, the same in every batch.

A small codebook is compared whole, in float64. A large one takes three steps. Lower bounds of the
distance from every vector to every code are computed: by a *screen* (`tokenizers.screens`), with
one matrix product a block, or where the processor adds products of bytes by
`tokenizers.byte_search`. Codes whose bound exceeds a distance that is already known cannot
be nearest; a few of 65,536 remain. Those are compared in float64, in an order of summation that
depends on D alone. So the answer depends neither on the sizes of the blocks nor on how many
vectors are searched together, as the last bits of a matrix product do: a stream gets the codes of
the whole file.

Shapes: N vectors, n of them in a block, K codes, k of them in a block, G groups of S codes in it,
m >= n columns of a screen's bounds, D = latent_dim, P pairs of a vector and a code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from quintet.kept import Kept
from quintet.tokenizers.processor import byte_products_are_fast, rounded_products_are_fast
from quintet.tokenizers.screens import Block, FloatScreen, RoundedScreen, Screen, duplicates

if TYPE_CHECKING:
    from quintet.tokenizers.byte_search import ByteSearch

VECTORS = 512  # of a block
BOUNDS = 2**21  # of a block: 4 MB in bfloat16, 8 MB in float32
GROUP = 32  # codes whose lowest bound is compared before each of them is
CROWD = 24  # groups that may pass for a vector in a block, and a tenth of the codes in all
LAST = 64  # vectors at once where all else failed: all their K codes might pass
PAIRS = 2**14  # compared in float64 at once: 16 MB at D = 128
FEW_NUMBERS = 2**17  # of a codebook whose scores are all computed in float64: 1,024 x 128
STREAMED = 128  # vectors up to which tiles wait for memory, of which bytes need half
ROUNDED_CODES = 8_192  # fewer codes are screened in float32: rounding saves nothing there


class CodeIndex(Kept):
    """A codebook ready to be searched: half norms, and rounded codes where these pay.

    It is made for the codebook as it is now, and `fits` says whether it still is. It holds K
    floats and, with rounded codes, 2 K (D + 8) bytes, or K (D + 28) of bytes: 18 or 10 MB for
    65,536 codes of 128 dimensions.

    Args:
        rounded: False where the codebook changes before a thousand vectors have been searched;
            rounding it costs as much as it saves them.
    """

    def __init__(self, codes_KD: Tensor, rounded: bool = True) -> None:
        super().__init__(codes_KD)
        self.codes_KD = codes_KD.detach().float()
        self.whole = self.codes_KD.numel() <= FEW_NUMBERS and WholeSearch(self.codes_KD)
        if self.whole:
            return
        self.single = FloatScreen(self.codes_KD)
        self.in_bytes: ByteSearch | None = None
        # The next screen takes the vectors with too many codes around them for the one before.
        self.screens: list[Screen] = [self.single]
        if not rounded or len(codes_KD) < ROUNDED_CODES:
            return
        if rounded_products_are_fast(codes_KD.device):
            self.screens.insert(0, RoundedScreen(self.codes_KD, self.single.duplicate_K))
        if byte_products_are_fast(codes_KD.device):
            from quintet.tokenizers.byte_search import ByteSearch  # which brings Numba

            self.in_bytes = ByteSearch(self.codes_KD, self.single.duplicate_K)

    @torch.no_grad()
    def nearest(self, vectors_ND: Tensor) -> Tensor:
        """Index of the nearest code of each vector, [N] int64; of equally near ones, the lowest.

        Distances are those of float64 arithmetic on the float32 numbers. What is not finite in a
        vector counts as 0.
        """
        if vectors_ND.ndim != 2 or vectors_ND.shape[1] != self.codes_KD.shape[1]:
            raise ValueError(f"Vectors of {list(vectors_ND.shape)} are not as wide as the codes.")
        with torch.autocast(vectors_ND.device.type, enabled=False):
            vectors_ND = _numbers(vectors_ND.float())
            if self.whole:
                return self.whole.nearest(vectors_ND)
            ids_N = torch.zeros(len(vectors_ND), dtype=torch.long, device=vectors_ND.device)
            left = torch.arange(len(vectors_ND), device=vectors_ND.device)
            few = len(left) <= STREAMED or len(self.screens) == 1  # of rounded codes there are none
            if self.in_bytes and len(left) and few:
                ids_N, crowded_N = self.in_bytes.nearest(vectors_ND)
                left = left[crowded_N]
            for screen in self.screens:
                crowded = [left[:0]]
                for block in left.split(VECTORS) if len(left) else ():
                    found_n, full_n = _search(screen, self.codes_KD, vectors_ND[block], CROWD)
                    ids_N[block] = found_n
                    crowded.append(block[full_n])
                left = torch.cat(crowded)
            for block in left.split(LAST) if len(left) else ():
                ids_N[block] = _search_crowd(self.single, self.codes_KD, vectors_ND[block])
        return ids_N


def _numbers(vectors_ND: Tensor) -> Tensor:
    """Zeros in place of what is none. On a CPU by NumPy, which has no threads: PyTorch's go on
    turning round and round for milliseconds, on the cores that the search wants."""
    if vectors_ND.device.type != "cpu":
        return vectors_ND.nan_to_num(0.0, 0.0, 0.0)
    vectors = vectors_ND.detach().numpy()
    return torch.from_numpy(np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0))


def left_over(vectors_ND: Tensor, codes_KD: Tensor, ids_N: Tensor) -> Tensor:
    """What vectors lack of their codes, likewise."""
    if vectors_ND.device.type != "cpu":
        return vectors_ND - codes_KD[ids_N]
    return torch.from_numpy(vectors_ND.numpy() - codes_KD.numpy()[ids_N.numpy()])


class WholeSearch:
    """Few codes: the scores of all of them in float64, where no two that differ in float32 come
    out alike, however many vectors are multiplied together."""

    def __init__(self, codes_KD: Tensor) -> None:
        self.codes_DK = codes_KD.double().T.contiguous()
        self.half_norms_K = 0.5 * codes_KD.double().square().sum(1)
        self.half_norms_K.masked_fill_(duplicates(codes_KD, self.half_norms_K), torch.inf)

    def nearest(self, vectors_ND: Tensor) -> Tensor:
        """Index of the nearest code of each vector, [N] int64."""
        return torch.cat([
            torch.addmm(self.half_norms_K, block_nD.double(), self.codes_DK, alpha=-1).argmin(1)
            for block_nD in vectors_ND.split(VECTORS)
        ])  # fmt: skip


def _squares(vectors_nD: Tensor, codes_KD: Tensor, vector_P: Tensor, code_P: Tensor) -> Tensor:
    """Squared distances of pairs [P], float64, added in an order that depends on D alone."""
    parts = []
    for vector_p, code_p in zip(vector_P.split(PAIRS), code_P.split(PAIRS), strict=True):
        # Both converted first: a difference of two types takes several times as long.
        square_pD = vectors_nD[vector_p].double().sub_(codes_KD[code_p].double()).square_()
        width = square_pD.shape[1]
        while width > 1:
            half = width // 2
            square_pD[:, :half] += square_pD[:, width - half : width]
            width -= half
        parts.append(square_pD[:, 0])
    return torch.cat(parts)


def _search(
    screen: Screen, codes_KD: Tensor, vectors_nD: Tensor, crowd: int | None
) -> tuple[Tensor, Tensor]:
    """Nearest codes [n]; which vectors have too many codes around them to say [n]."""
    block = screen.prepare(vectors_nD)
    found = _Found(screen, codes_KD, vectors_nD, block)
    for part in _parts(found):
        found.add(part, crowd)
    return found.nearest(crowd)


def _search_crowd(screen: FloatScreen, codes_KD: Tensor, vectors_nD: Tensor) -> Tensor:
    """Nearest codes [n] where vectors lie amid many: in float64 among all that are near any.

    A crowd (the codes of near silence) is the same for all the vectors in it, so this compares
    few codes; at worst all of them.
    """
    found = _Found(screen, codes_KD, vectors_nD, screen.prepare(vectors_nD))
    near = []
    for part in _parts(found):
        passes_kn = ~(part.bounds_GSm.flatten(0, 1) > found.limit_n)
        near.append(part.start + passes_kn.any(1).nonzero()[:, 0])
    code_U = torch.cat(near)
    codes_UD = codes_KD[code_U]
    ids_n, _ = _search(FloatScreen(codes_UD).double(), codes_UD, vectors_nD, None)
    return code_U[ids_n]


class _Part(NamedTuple):
    """The bounds of some codes, from `start` on, and the lowest of each group."""

    start: int
    bounds_GSm: Tensor
    lowest_Gn: Tensor

    def guess(self) -> Tensor:
        """Of each vector [n] a code that is near, if not nearest."""
        group_n = self.lowest_Gn.argmin(0)
        row_n = torch.arange(len(group_n), device=group_n.device)
        member_n = self.bounds_GSm[group_n, :, row_n].argmin(1)
        return self.start + group_n * self.bounds_GSm.shape[1] + member_n


def _parts(found: _Found) -> Iterator[_Part]:
    """What the screen knows, of one block of codes after another."""
    screen, size, columns = found.screen, len(found.codes_KD), found.block.columns_Em.shape[1]
    step = min(size, max(1, BOUNDS // columns // GROUP) * GROUP)
    buffer = torch.empty(step * columns, dtype=screen.dtype, device=found.codes_KD.device)
    for number, start in enumerate(range(0, size, step)):
        stop = min(start + step, size)
        bounds_km = buffer[: (stop - start) * columns].view(-1, columns)
        screen.bounds(start, stop, found.block, bounds_km)
        group = GROUP if (stop - start) % GROUP == 0 else 1
        bounds_GSm = bounds_km.view(-1, group, columns)
        part = _Part(start, bounds_GSm, bounds_GSm.amin(1)[:, : len(found.row_n)])
        if number & (number + 1) == 0:  # blocks 0, 1, 3, 7...: later ones hold fewer nearer codes
            found.know(part.guess())
        yield part


class _Found:
    """What the search of a block of vectors knows: a near code of each, and who may be nearer."""

    def __init__(
        self,
        screen: Screen,
        codes_KD: Tensor,
        vectors_nD: Tensor,
        block: Block,
    ) -> None:
        self.screen, self.codes_KD = screen, codes_KD
        self.vectors_nD, self.block = vectors_nD, block
        self.row_n = torch.arange(len(vectors_nD), device=vectors_nD.device)
        self.square_n = vectors_nD.new_full((len(vectors_nD),), torch.inf, dtype=torch.float64)
        self.crowded_n = ~block.judged_n
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def know(self, code_n: Tensor) -> None:
        """Take the distances to these codes as known: nothing farther can be nearest."""
        square_n = _squares(self.vectors_nD, self.codes_KD, self.row_n, code_n)
        self.square_n = torch.fmin(self.square_n, square_n)
        self.limit_n = self.screen.limit(self.square_n, self.block)
        self.limit_n.masked_fill_(self.crowded_n, self.screen.lowest)

    def add(self, part: _Part, crowd: int | None) -> None:
        """Keep this block's codes whose bound does not exceed the limit. Where many groups of codes
        pass, vectors are left out for which more than `crowd` do."""
        passes_Gn = ~(part.lowest_Gn > self.limit_n)  # NaN passes: it proves nothing
        if crowd is not None and int(passes_Gn.sum()) > crowd * len(self.row_n):
            self.crowded_n = self.crowded_n | (passes_Gn.sum(0) > crowd)
            self.limit_n.masked_fill_(self.crowded_n, self.screen.lowest)
            passes_Gn = ~(part.lowest_Gn > self.limit_n)
        group_p, row_p = passes_Gn.nonzero(as_tuple=True)
        bounds_pS = part.bounds_GSm[group_p, :, row_p]
        pair, member = (~(bounds_pS > self.limit_n[row_p, None])).nonzero(as_tuple=True)
        code_P = part.start + group_p[pair] * part.bounds_GSm.shape[1] + member
        self.pairs.append((row_p[pair], code_P, bounds_pS[pair, member]))

    def nearest(self, crowd: int | None) -> tuple[Tensor, Tensor]:
        """Nearest codes [n]; which vectors have too many codes around them to say [n]."""
        row_P, code_P, bound_P = (torch.cat(parts) for parts in zip(*self.pairs, strict=True))
        code_n = torch.zeros_like(self.row_n)
        best_n = bound_P.new_zeros(len(self.row_n))
        best_n = best_n.scatter_reduce(0, row_P, bound_P, "amin", include_self=False)
        best_P = bound_P == best_n[row_P]
        self.know(code_n.scatter(0, row_P[best_P], code_P[best_P]))
        near_P = ~(bound_P > self.limit_n[row_P])
        if crowd is not None:
            count_n = torch.bincount(row_P[near_P], minlength=len(self.row_n))
            self.crowded_n = self.crowded_n | (count_n > 10 * crowd)
            near_P &= ~self.crowded_n[row_P]
        row_P, code_P = row_P[near_P], code_P[near_P]
        square_P = _squares(self.vectors_nD, self.codes_KD, row_P, code_P)
        best = self.square_n.scatter_reduce(0, row_P, square_P, "amin", include_self=False)
        best_P = square_P == best[row_P]
        row_P, code_P = row_P[best_P], code_P[best_P]
        code_n = code_n.scatter_reduce(0, row_P, code_P, "amin", include_self=False)
        return code_n, self.crowded_n
