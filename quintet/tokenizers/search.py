"""The nearest code of each vector: exact, in bounded memory, the same in every batch.

A small codebook is compared whole, in float64. A large one takes three steps. A *screen*
computes, with one matrix product a block, a lower bound of the distance from every vector to
every code. Codes whose bound exceeds a distance that is already known cannot be nearest; a few of
65,536 remain. Those are compared in float64, in an order of summation that depends on D alone. So
the answer depends neither on the sizes of the blocks nor on how many vectors are searched
together, as the last bits of a matrix product do: a stream gets the codes of the whole file.

The bounds. Let a', b' be a, b after rounding. Then |a.b - a'.b'| <= |a| |b - b'| + |a - a'| |b'|
(Cauchy and Schwarz), where every norm is known once the codes and the vectors are rounded; and
the error of adding E products in float32 is at most E 2^-24 times the sum of their magnitudes
(Higham 2002, section 3.1), doubled here to be safe.

Shapes: N vectors, n of them in a block, K codes, k of them in a block, G groups of codes in it,
D = latent_dim, E = D + 8 columns of the rounded screen, P pairs of a vector and a code.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from quintet.tokenizers.processor import rounded_products_are_fast

VECTORS = 512  # of a block
BOUNDS = 2**21  # of a block: 4 MB in bfloat16, 8 MB in float32
GROUP = 32  # codes whose lowest bound is compared before each of them is
CROWD = 24  # groups that may pass for a vector in a block, and a tenth of the codes in all
LAST = 64  # vectors at once where all else failed: all their K codes might pass
CODES = 4_096  # prepared at once, so that what is between stays in the cache
PAIRS = 2**14  # compared in float64 at once: 16 MB at D = 128
FEW_NUMBERS = 2**17  # of a codebook whose scores are all computed in float64: 1,024 x 128
ROUNDED_CODES = 8_192  # fewer codes are screened in float32: rounding saves nothing there
FAR = 1e30  # half norm of a duplicate in the rounded screen: beyond any distance that it judges


class CodeIndex:
    """A codebook ready to be searched: half norms, and rounded codes where these pay.

    It is made for the codebook as it is now, and `fits` says whether it still is. It holds K
    floats and, with rounded codes, 2 K (D + 8) bytes: 18 MB for 65,536 codes of 128 dimensions.

    Args:
        rounded: False where the codebook changes before a thousand vectors have been searched;
            rounding it costs as much as it saves them.
    """

    def __init__(self, codes_KD: Tensor, rounded: bool = True) -> None:
        self.source = codes_KD  # held, so that no other tensor can take its place in memory
        self.version = None if codes_KD.is_inference() else codes_KD._version
        self.codes_KD = codes_KD.detach().float()
        self.whole = self.codes_KD.numel() <= FEW_NUMBERS and WholeSearch(self.codes_KD)
        if self.whole:
            return
        self.single = FloatScreen(self.codes_KD)
        # The next screen takes the vectors with too many codes around them for the one before.
        self.screens: list[FloatScreen | RoundedScreen] = [self.single]
        large = len(codes_KD) >= ROUNDED_CODES
        if rounded and large and rounded_products_are_fast(codes_KD.device):
            self.screens.insert(0, RoundedScreen(self.codes_KD, self.single.duplicate_K))

    def fits(self, codes_KD: Tensor) -> bool:
        """Whether nothing has written to the codebook or replaced it since this was made.

        Tensors made in inference mode do not count their changes: for them it never fits.
        """
        same = self.source is codes_KD and self.version is not None
        return same and self.version == codes_KD._version

    def __deepcopy__(self, memo: dict) -> None:
        """None: a copied codebook counts its changes anew, and its index might miss some."""

    def __reduce__(self) -> tuple:
        return type(None), ()  # pickled as None, for the same reason

    @torch.no_grad()
    def nearest(self, vectors_ND: Tensor) -> Tensor:
        """Index of the nearest code of each vector, [N] int64; of equally near ones, the lowest.

        Distances are those of float64 arithmetic on the float32 numbers. What is not finite in a
        vector counts as 0.
        """
        with torch.autocast(vectors_ND.device.type, enabled=False):
            vectors_ND = vectors_ND.float().nan_to_num(0.0, 0.0, 0.0)
            if self.whole:
                return self.whole.nearest(vectors_ND)
            ids_N = torch.zeros(len(vectors_ND), dtype=torch.long, device=vectors_ND.device)
            left = torch.arange(len(vectors_ND), device=vectors_ND.device)
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


class WholeSearch:
    """Few codes: the scores of all of them in float64, where no two that differ in float32 come
    out alike, however many vectors are multiplied together."""

    def __init__(self, codes_KD: Tensor) -> None:
        self.codes_DK = codes_KD.double().T.contiguous()
        self.half_norms_K = 0.5 * codes_KD.double().square().sum(1)
        self.half_norms_K.masked_fill_(_duplicates(codes_KD, self.half_norms_K), torch.inf)

    def nearest(self, vectors_ND: Tensor) -> Tensor:
        """Index of the nearest code of each vector, [N] int64."""
        return torch.cat([
            torch.addmm(self.half_norms_K, block_nD.double(), self.codes_DK, alpha=-1).argmin(1)
            for block_nD in vectors_ND.split(VECTORS)
        ])  # fmt: skip


class Block(NamedTuple):
    """Some vectors as a screen wants them, in m >= n columns."""

    columns_Em: Tensor
    slack_n: Tensor  # float64, a screen's own
    judged_n: Tensor  # whether the screen can judge them


class FloatScreen:
    """Bounds |c|^2/2 - x.c in float32, or in float64 for the few codes of a crowd.

    The half norms are kept; the codes are not copied.
    """

    lowest = -torch.inf

    def __init__(self, codes_KD: Tensor) -> None:
        self.dtype = torch.float32
        self.codes_KD = codes_KD
        half_norms = [0.5 * codes.square().sum(1) for codes in codes_KD.split(CODES)]
        self.half_norms_K = torch.cat(half_norms)
        self.largest = 1.001 * float(2 * self.half_norms_K.amax().double()) ** 0.5
        self.duplicate_K = _duplicates(codes_KD, self.half_norms_K)
        self.half_norms_K.masked_fill_(self.duplicate_K, torch.inf)

    def double(self) -> FloatScreen:
        screen = copy.copy(self)  # its codes are converted at every search
        screen.dtype = torch.float64
        return screen

    def prepare(self, vectors_nD: Tensor) -> Block:
        norm_n = vectors_nD.double().square().sum(1)
        error = (vectors_nD.shape[1] + 8) * torch.finfo(self.dtype).eps
        if self.dtype == torch.float32:
            error += _product_error(vectors_nD.device)
        # Half of |x|^2 turns a squared distance into a score; the rest is the score's error.
        slack_n = error * self.largest * (norm_n.sqrt() + self.largest) - 0.5 * norm_n
        slack_n += 2 * error * norm_n if self.dtype == torch.float64 else 1e-30
        judged_n = torch.ones_like(norm_n, dtype=torch.bool)
        return Block(vectors_nD.T.to(self.dtype), slack_n, judged_n)

    def bounds(self, start: int, stop: int, block: Block, out_km: Tensor) -> None:
        """Write the bounds [k, m] of the codes from start to stop."""
        codes_kD, half_norms_k = self.codes_KD[start:stop], self.half_norms_K[start:stop]
        if self.dtype == torch.float64:
            codes_kD = codes_kD.double()
            exact_k = 0.5 * codes_kD.square().sum(1)
            half_norms_k = exact_k.masked_fill_(self.duplicate_K[start:stop], torch.inf)
        torch.addmm(half_norms_k[:, None], codes_kD, block.columns_Em, alpha=-1, out=out_km)

    def limit(self, square_n: Tensor, block: Block) -> Tensor:
        """The bound [n] that no code as near as these squared distances [n] exceeds."""
        limit_n = ((0.5 + 1e-12) * square_n + block.slack_n).to(self.dtype)
        return torch.nextafter(limit_n, torch.full_like(limit_n, torch.inf))


class RoundedScreen:
    """Bounds of |x - c|^2/2 in bfloat16, several times as fast where the processor is good at it.

    Codes and vectors are centred on the codebook's mean and scaled by a power of two, so that
    what is rounded is the spread. Eight columns beside the D rounded ones make the product itself
    the bound: three for |x|^2/2, three for |c|^2/2 (each a sum of three bfloat16 numbers) and two
    for the error of rounding x and c. Rounding the result keeps its order; and bfloat16 numbers
    that are not negative are ordered as their bits, so the bounds are compared as int16, whose
    minima cost a quarter of the time. (Negative ones come before all others, which is enough.)
    """

    dtype = torch.int16
    lowest = -(2**15)

    def __init__(self, codes_KD: Tensor, duplicate_K: Tensor) -> None:
        size, width = codes_KD.shape
        self.half = 0.5 - (width + 8) * 2.0**-22  # less than half by the error of adding up
        self.center_D = codes_KD.mean(0)
        parts = codes_KD.split(CODES)
        spreads = [(codes - self.center_D).square().sum(1).amax() for codes in parts]
        largest = float(torch.stack(spreads).amax().sqrt())
        self.usable = 1e-15 < largest < 1e15  # beyond, products leave the range of float32
        self.scale = 2.0 ** -math.ceil(math.log2(largest)) if self.usable else 1.0
        self.columns_KE = codes_KD.new_ones((size, width + 8), dtype=torch.bfloat16)
        for start in range(0, size, CODES):
            some = slice(start, start + CODES)
            columns_kE = self.columns_KE[some]
            spread_kD = (codes_KD[some] - self.center_D).mul_(self.scale)
            columns_kE[:, :width], norm_k, error_k = _round(spread_kD)
            half_k = (self.half * norm_k.square()).masked_fill_(duplicate_K[some], FAR)
            columns_kE[:, width + 3 : width + 6] = _split(half_k)
            columns_kE[:, width + 6] = 1.01 * error_k  # after rounding still not less
            columns_kE[:, width + 7] = 1.01 * norm_k

    def prepare(self, vectors_nD: Tensor) -> Block:
        count, width = vectors_nD.shape
        rounded_nD, norm_n, error_n = _round((vectors_nD - self.center_D).mul_(self.scale))
        # In full tiles: for few columns another kernel would run, slower and less exact.
        padded = 16 if count <= 16 else -(-count // 32) * 32
        columns_mE = vectors_nD.new_zeros((padded, width + 8), dtype=torch.bfloat16)
        columns_mE[:count, :width] = -rounded_nD
        columns_mE[:count, width : width + 3] = _split(self.half * norm_n.square())
        columns_mE[:count, width + 3 : width + 6] = 1
        columns_mE[:count, width + 6] = -1.01 * norm_n
        columns_mE[:count, width + 7] = -1.01 * error_n
        judged_n = (norm_n < 1e6) & self.usable
        columns_mE[:count].masked_fill_(~judged_n[:, None], 0)
        return Block(columns_mE.T, norm_n, judged_n)

    def bounds(self, start: int, stop: int, block: Block, out_km: Tensor) -> None:
        """Write the bounds [k, m] of the codes from start to stop."""
        out_km = out_km.view(torch.bfloat16)
        torch.mm(self.columns_KE[start:stop], block.columns_Em, out=out_km)

    def limit(self, square_n: Tensor, block: Block) -> Tensor:
        """The bound [n] that no code as near as these squared distances [n] exceeds."""
        limit_n = (0.5 + 1e-6) * self.scale**2 * square_n + 1e-15
        return limit_n.float().bfloat16().view(torch.int16)


def _product_error(device: torch.device) -> float:
    """Relative error of one float32 product, as the user has set it: usually none."""
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    settings = (backend.matmul, backend, torch.backends)  # "none" asks the next
    named = (getattr(setting, "fp32_precision", "none") for setting in settings)
    precision = next((name for name in named if name != "none"), "ieee")
    return 0.0 if precision == "ieee" else 2.0**-6  # bfloat16 loses 2^-8 of either factor


def _round(vectors_nD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """In bfloat16 [n, D]; the norms before [n]; at most the norms of what rounding took [n]."""
    rounded_nD = vectors_nD.bfloat16()
    norm_n = vectors_nD.square().sum(1).sqrt()
    error_n = (vectors_nD - rounded_nD).square_().sum(1).sqrt()
    return rounded_nD, norm_n, error_n + 2.0**-22 * norm_n  # centring rounds in float32


def _split(values_n: Tensor) -> Tensor:
    """Three bfloat16 numbers a value, [n, 3], whose sum is the value within 2^-26 of it."""
    first = values_n.bfloat16()
    second = (values_n - first).bfloat16()
    return torch.stack([first, second, (values_n - first - second).bfloat16()], dim=1)


def _duplicates(codes_KD: Tensor, half_norms_K: Tensor) -> Tensor:
    """Which codes equal one of lower index [K]. It may miss some: that costs time only."""
    value_K, order_K = half_norms_K.sort(stable=True)
    later = torch.nonzero(value_K[1:] == value_K[:-1])[:, 0] + 1
    duplicate_K = torch.zeros_like(half_norms_K, dtype=torch.bool)
    equal = (codes_KD[order_K[later]] == codes_KD[order_K[later - 1]]).all(1)
    duplicate_K[order_K[later[equal]]] = True
    return duplicate_K


def _squares(vectors_nD: Tensor, codes_KD: Tensor, vector_P: Tensor, code_P: Tensor) -> Tensor:
    """Squared distances of pairs [P], float64, added in an order that depends on D alone."""
    parts = []
    for vector_p, code_p in zip(vector_P.split(PAIRS), code_P.split(PAIRS), strict=True):
        square_pD = (vectors_nD[vector_p].double() - codes_KD[code_p]).square_()
        width = square_pD.shape[1]
        while width > 1:
            half = width // 2
            square_pD[:, :half] += square_pD[:, width - half : width]
            width -= half
        parts.append(square_pD[:, 0])
    return torch.cat(parts)


def _search(
    screen: FloatScreen | RoundedScreen, codes_KD: Tensor, vectors_nD: Tensor, crowd: int | None
) -> tuple[Tensor, Tensor]:
    """Nearest codes [n]; which vectors have too many codes around them to say [n]."""
    block = screen.prepare(vectors_nD)
    found = _Found(screen, codes_KD, vectors_nD, block)
    for start, bounds_GSm, lowest_Gn in _bounds(found):
        found.add(start, bounds_GSm, lowest_Gn, crowd)
    return found.nearest(crowd)


def _search_crowd(screen: FloatScreen, codes_KD: Tensor, vectors_nD: Tensor) -> Tensor:
    """Nearest codes [n] where vectors lie amid many: in float64 among all that are near any.

    A crowd (the codes of near silence) is the same for all the vectors in it, so this compares
    few codes; at worst all of them.
    """
    found = _Found(screen, codes_KD, vectors_nD, screen.prepare(vectors_nD))
    near = []
    for start, bounds_GSm, _ in _bounds(found):
        passes_kn = ~(bounds_GSm.flatten(0, 1) > found.limit_n)
        near.append(start + passes_kn.any(1).nonzero()[:, 0])
    code_U = torch.cat(near)
    codes_UD = codes_KD[code_U]
    ids_n, _ = _search(FloatScreen(codes_UD).double(), codes_UD, vectors_nD, None)
    return code_U[ids_n]


def _bounds(found: _Found) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Blocks of codes: the first's index, bounds [G, S, m], the groups' lowest [G, n]."""
    screen, size, columns = found.screen, len(found.codes_KD), found.block.columns_Em.shape[1]
    step = min(size, max(1, BOUNDS // columns // GROUP) * GROUP)
    buffer = torch.empty(step * columns, dtype=screen.dtype, device=found.codes_KD.device)
    for number, start in enumerate(range(0, size, step)):
        stop = min(start + step, size)
        bounds_km = buffer[: (stop - start) * columns].view(-1, columns)
        screen.bounds(start, stop, found.block, bounds_km)
        group = GROUP if (stop - start) % GROUP == 0 else 1
        bounds_GSm = bounds_km.view(-1, group, columns)
        lowest_Gn = bounds_GSm.amin(1)[:, : len(found.row_n)]
        if number & (number + 1) == 0:  # blocks 0, 1, 3, 7...: later ones hold fewer nearer codes
            found.guess(start, bounds_GSm, lowest_Gn)
        yield start, bounds_GSm, lowest_Gn


class _Found:
    """What the search of a block of vectors knows: a near code of each, and who may be nearer."""

    def __init__(
        self,
        screen: FloatScreen | RoundedScreen,
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

    def _know(self, code_n: Tensor) -> None:
        """Take the distances to these codes as known: nothing farther can be nearest."""
        square_n = _squares(self.vectors_nD, self.codes_KD, self.row_n, code_n)
        self.square_n = torch.fmin(self.square_n, square_n)
        self.limit_n = self.screen.limit(self.square_n, self.block)
        self.limit_n.masked_fill_(self.crowded_n, self.screen.lowest)

    def guess(self, start: int, bounds_GSm: Tensor, lowest_Gn: Tensor) -> None:
        """The code of the lowest bound in this block is near, if not nearest."""
        group_n = lowest_Gn.argmin(0)
        member_n = bounds_GSm[group_n, :, self.row_n].argmin(1)
        self._know(start + group_n * bounds_GSm.shape[1] + member_n)

    def add(self, start: int, bounds_GSm: Tensor, lowest_Gn: Tensor, crowd: int | None) -> None:
        """Keep this block's codes whose bound does not exceed the limit."""
        passes_Gn = ~(lowest_Gn > self.limit_n)  # NaN passes: it proves nothing
        group_p, row_p = passes_Gn.nonzero(as_tuple=True)
        if crowd is not None and len(group_p) > crowd * len(self.row_n):
            self.crowded_n = self.crowded_n | (passes_Gn.sum(0) > crowd)
            self.limit_n.masked_fill_(self.crowded_n, self.screen.lowest)
            group_p, row_p = (~(lowest_Gn > self.limit_n)).nonzero(as_tuple=True)
        bounds_pS = bounds_GSm[group_p, :, row_p]
        pair, member = (~(bounds_pS > self.limit_n[row_p, None])).nonzero(as_tuple=True)
        code = start + group_p[pair] * bounds_GSm.shape[1] + member
        self.pairs.append((row_p[pair], code, bounds_pS[pair, member]))

    def nearest(self, crowd: int | None) -> tuple[Tensor, Tensor]:
        """Nearest codes [n]; which vectors have too many codes around them to say [n]."""
        row_P, code_P, bound_P = (torch.cat(parts) for parts in zip(*self.pairs, strict=True))
        code_n = torch.zeros_like(self.row_n)
        best_n = bound_P.new_zeros(len(self.row_n))
        best_n = best_n.scatter_reduce(0, row_P, bound_P, "amin", include_self=False)
        best_P = bound_P == best_n[row_P]
        self._know(code_n.scatter(0, row_P[best_P], code_P[best_P]))
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
