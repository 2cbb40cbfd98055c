"""Screens: lower bounds of the distance from every vector to every code, cheaply.

A screen multiplies blocks of codes by the vectors, in the numbers that it keeps of both, and says
from the products what no code's distance can be below. The bounds. Let a', b' be a, b after
rounding. Then |a.b - a'.b'| <= |a| |b - b'| + |a - a'| |b'| (Cauchy and Schwarz), where every norm
is known once the codes and the vectors are rounded; and the error of adding E products in float32
is at most E 2^-24 times the sum of their magnitudes (Higham 2002, section 3.1), doubled here to be
safe. Products of bytes are added without any.

Shapes: N vectors, n of them in a block, in m >= n columns, K codes, k of them in a block, G groups
of S codes in it, D = latent_dim, E columns of a screen's codes, p pairs of a group and a
vector.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

GROUP = 32  # codes whose lowest bound is compared before each of them is
CODES = 4_096  # prepared at once, so that what is between stays in the cache
FAR = 1e30  # half norm of a duplicate in the rounded screen: beyond any distance that it judges
MOST = 127  # steps that a byte holds


class Block(NamedTuple):
    """Some vectors as a screen wants them."""

    columns_Em: Tensor
    own_n: Tensor  # what else a screen needs of each, [..., n]
    judged_n: Tensor  # whether the screen can judge them


class Part(NamedTuple):
    """What a screen knows of some codes, from the place `start` on."""

    start: int
    products_GSm: Tensor
    lowest_Gn: Tensor | None  # bounds of the groups, of a screen that has them at once


class Passing(NamedTuple):
    """The codes whose bounds pass."""

    row_P: Tensor
    place_P: Tensor
    bound_P: Tensor
    crowded_n: Tensor | None  # vectors for which too many did, which are left out


class Screen(Protocol):
    """What a search asks of one. Codes have places, which need not be their indices."""

    dtype: torch.dtype  # of products

    @property
    def lowest(self) -> float:
        """No bound is below."""

    def prepare(self, vectors_nD: Tensor) -> Block:
        """The vectors as this screen wants them."""

    def products(self, start: int, stop: int, block: Block, out_km: Tensor) -> None:
        """Write what is known of the codes at the places from start to stop, [k, m]."""

    def lowest_of(self, products_GSm: Tensor, block: Block) -> Tensor | None:
        """The lowest bound [G, n] of each group of codes, if that is in the products."""

    def guess(self, part: Part, block: Block) -> Tensor:
        """Of each vector [n] the place of a code that is near, if not nearest."""

    def passing(self, part: Part, block: Block, limit_n: Tensor, crowd: int | None) -> Passing:
        """The codes whose bounds do not exceed a vector's limit; where many groups of codes pass,
        vectors are left out for which more than `crowd` do."""

    def limit(self, square_n: Tensor, block: Block) -> Tensor:
        """The bound [n] that no code as near as these squared distances [n] exceeds."""

    def codes_at(self, place: Tensor) -> Tensor:
        """The indices of the codes at these places."""


class ProductsAreBounds:
    """Of screens whose products are the bounds, of codes in their order."""

    lowest: float

    def lowest_of(self, products_GSm: Tensor, block: Block) -> Tensor:
        return products_GSm.amin(1)[:, : block.own_n.shape[-1]]

    def guess(self, part: Part, block: Block) -> Tensor:
        start, products_GSm, lowest_Gn = part
        assert lowest_Gn is not None
        group_n = lowest_Gn.argmin(0)
        row_n = torch.arange(len(group_n), device=group_n.device)
        member_n = products_GSm[group_n, :, row_n].argmin(1)
        return start + group_n * products_GSm.shape[1] + member_n

    def passing(self, part: Part, block: Block, limit_n: Tensor, crowd: int | None) -> Passing:
        start, products_GSm, lowest_Gn = part
        assert lowest_Gn is not None
        passes_Gn = ~(lowest_Gn > limit_n)  # NaN passes: it proves nothing
        crowded_n = _crowded(passes_Gn, crowd)
        if crowded_n is not None:
            limit_n = limit_n.masked_fill(crowded_n, self.lowest)
            passes_Gn = ~(lowest_Gn > limit_n)
        group_p, row_p = passes_Gn.nonzero(as_tuple=True)
        bounds_pS = products_GSm[group_p, :, row_p]
        pair, member = (~(bounds_pS > limit_n[row_p, None])).nonzero(as_tuple=True)
        place_P = start + group_p[pair] * products_GSm.shape[1] + member
        return Passing(row_p[pair], place_P, bounds_pS[pair, member], crowded_n)

    def codes_at(self, place: Tensor) -> Tensor:
        return place


def _crowded(passes_Gn: Tensor, crowd: int | None) -> Tensor | None:
    """For which vectors [n] too many groups pass, where that is so for many of them."""
    if crowd is None or int(passes_Gn.sum()) <= crowd * passes_Gn.shape[1]:
        return None
    return passes_Gn.sum(0) > crowd


class FloatScreen(ProductsAreBounds):
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
        self.duplicate_K = duplicates(codes_KD, self.half_norms_K)
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

    def products(self, start: int, stop: int, block: Block, out_km: Tensor) -> None:
        """Write the bounds [k, m] of the codes from start to stop."""
        codes_kD, half_norms_k = self.codes_KD[start:stop], self.half_norms_K[start:stop]
        if self.dtype == torch.float64:
            codes_kD = codes_kD.double()
            exact_k = 0.5 * codes_kD.square().sum(1)
            half_norms_k = exact_k.masked_fill_(self.duplicate_K[start:stop], torch.inf)
        torch.addmm(half_norms_k[:, None], codes_kD, block.columns_Em, alpha=-1, out=out_km)

    def limit(self, square_n: Tensor, block: Block) -> Tensor:
        """The bound [n] that no code as near as these squared distances [n] exceeds."""
        limit_n = ((0.5 + 1e-12) * square_n + block.own_n).to(self.dtype)
        return torch.nextafter(limit_n, torch.full_like(limit_n, torch.inf))


class RoundedScreen(ProductsAreBounds):
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

    def products(self, start: int, stop: int, block: Block, out_km: Tensor) -> None:
        """Write the bounds [k, m] of the codes from start to stop."""
        out_km = out_km.view(torch.bfloat16)
        torch.mm(self.columns_KE[start:stop], block.columns_Em, out=out_km)

    def limit(self, square_n: Tensor, block: Block) -> Tensor:
        """The bound [n] that no code as near as these squared distances [n] exceeds."""
        limit_n = (0.5 + 1e-6) * self.scale**2 * square_n + 1e-15
        return limit_n.float().bfloat16().view(torch.int16)


class ByteScreen:
    """Bounds of |x - c|^2/2 from products of bytes.

    Codes are centred on the codebook's mean and stand in the order of their norms, so that those
    of a group are alike: they share a scale, and the group's lowest norm and largest errors make
    of its largest product its lowest bound. Bytes lose some 0.6 % of a vector, bfloat16 0.2, so a
    few more codes remain; where too many do, the next screen takes the vector.
    """

    dtype = torch.int32
    lowest = -torch.inf

    def __init__(self, codes_KD: Tensor, duplicate_K: Tensor) -> None:
        size = len(codes_KD)
        self.center_D = codes_KD.mean(0)
        square_K = torch.cat([(c - self.center_D).square().sum(1) for c in codes_KD.split(CODES)])
        self.code_K = square_K.argsort()
        norm_K = square_K[self.code_K].sqrt()
        self.largest = float(norm_K[-1])
        self.usable = 1e-15 < self.largest < 1e15  # beyond, squares leave the range of float32
        half_K = 0.5 * norm_K.square()
        self.half_K = half_K.masked_fill_(duplicate_K[self.code_K], torch.inf)
        reach_K, error_K = torch.empty_like(norm_K), torch.empty_like(norm_K)
        # Fours are multiplied at once. (PyTorch 2.13 writes no products of single ones at all.)
        width = -(-codes_KD.shape[1] // 4) * 4
        self.bytes_KE = torch.zeros(size, width, dtype=torch.int8, device=codes_KD.device)
        spreads = [
            (slice(start, start + CODES), self.code_K[start : start + CODES])
            for start in range(0, size, CODES)
        ]
        for some, code_k in spreads:
            reach_K[some] = (codes_KD[code_k] - self.center_D).abs().amax(1)
        self.step_K = _of_groups(reach_K, torch.amax) / MOST
        for some, code_k in spreads:
            spread_kD = codes_KD[code_k] - self.center_D
            bytes_kD, error_K[some] = _bytes(spread_kD, self.step_K[some])
            self.bytes_KE[some, : bytes_kD.shape[1]] = bytes_kD
        # Of the group that a code is in: the lowest half norm, the largest norm and error.
        self.nearest_K = _of_groups(self.half_K, torch.amin)
        self.longest_K = _of_groups(norm_K, torch.amax)
        self.error_K = _of_groups(error_K, torch.amax)

    def prepare(self, vectors_nD: Tensor) -> Block:
        count, width = vectors_nD.shape
        spread_nD = vectors_nD - self.center_D
        judged_n = (spread_nD.abs().amax(1) < 1e15) & self.usable
        spread_nD = spread_nD.masked_fill_(~judged_n[:, None], 0.0)
        norm_n, step_n = spread_nD.square().sum(1).sqrt(), spread_nD.abs().amax(1) / MOST
        bytes_nD, error_n = _bytes(spread_nD, step_n)
        # In full tiles: for few columns another kernel would run, slower.
        padded = 16 if count <= 16 else -(-count // 32) * 32
        columns_mE = bytes_nD.new_zeros((padded, self.bytes_KE.shape[1]))
        columns_mE[:count, :width] = bytes_nD
        own_5n = torch.stack([step_n, 0.5 * norm_n.square(), error_n, norm_n + error_n, norm_n])
        return Block(columns_mE.T, own_5n, judged_n)

    def products(self, start: int, stop: int, block: Block, out_km: Tensor) -> None:
        torch._int_mm(self.bytes_KE[start:stop], block.columns_Em, out=out_km)

    def lowest_of(self, products_GSm: Tensor, block: Block) -> None:
        return None

    def guess(self, part: Part, block: Block) -> Tensor:
        from quintet.tokenizers import byte_loops  # Numba, which training has no use for

        place_n = torch.empty(block.own_n.shape[1], dtype=torch.long)
        of_codes = (self.step_K.numpy(), self.half_K.numpy())
        products_km = part.products_GSm.flatten(0, 1).numpy()
        byte_loops.lowest_places(
            products_km, part.start, *of_codes, block.own_n.numpy(), place_n.numpy()
        )
        return place_n

    def passing(self, part: Part, block: Block, limit_n: Tensor, crowd: int | None) -> Passing:
        from quintet.tokenizers import byte_loops  # Numba, which training has no use for

        groups, size, _ = part.products_GSm.shape
        where = (part.products_GSm.flatten(0, 1).numpy(), part.start, size, self.step_K.numpy())
        what = (self.longest_K.numpy(), self.error_K.numpy(), block.own_n.numpy(), limit_n.numpy())
        passes_Gn = torch.empty((groups, len(limit_n)), dtype=torch.bool)
        found = byte_loops.passing_groups(*where, self.nearest_K.numpy(), *what, passes_Gn.numpy())
        crowded_n = _crowded(passes_Gn, crowd) if found else None
        if crowded_n is not None:
            passes_Gn &= ~crowded_n
            found = int(passes_Gn.sum())
        row_P, place_P = torch.empty((2, found * size), dtype=torch.long).unbind()
        bound_P = torch.empty(found * size)
        pairs = byte_loops.passing_codes(
            *where, self.half_K.numpy(), *what, passes_Gn.numpy(),
            row_P.numpy(), place_P.numpy(), bound_P.numpy(),
        )  # fmt: skip
        return Passing(row_P[:pairs], place_P[:pairs], bound_P[:pairs], crowded_n)

    def limit(self, square_n: Tensor, block: Block) -> Tensor:
        # What computing a bound in float32 may add to it.
        slack_n = 2.0**-18 * (block.own_n[-1].double().square() + self.largest**2)
        limit_n = ((0.5 + 1e-6) * square_n + slack_n).float()
        return torch.nextafter(limit_n, torch.full_like(limit_n, torch.inf))

    def codes_at(self, place: Tensor) -> Tensor:
        return self.code_K[place]


def _of_groups(values_K: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
    """For each value what `reduce` makes of those of its group, [K]."""
    size = len(values_K)
    padded_K = torch.cat([values_K, values_K[-1:].expand(-size % GROUP)])
    return reduce(padded_K.view(-1, GROUP), 1).repeat_interleave(GROUP)[:size]


def _bytes(vectors_nD: Tensor, step_n: Tensor) -> tuple[Tensor, Tensor]:
    """In bytes [n, D], each a number of steps; at most the norms of what that took [n]."""
    steps_nD = (vectors_nD / step_n.clamp(min=1e-30)[:, None]).round_().clamp_(-MOST, MOST)
    error_n = (vectors_nD - steps_nD * step_n[:, None]).square_().sum(1).sqrt()
    norm_n = vectors_nD.square().sum(1).sqrt()  # centring rounds in float32
    return steps_nD.to(torch.int8), error_n + 2.0**-21 * norm_n


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


def duplicates(codes_KD: Tensor, half_norms_K: Tensor) -> Tensor:
    """Which codes equal one of lower index [K]. It may miss some: that costs time only."""
    value_K, order_K = half_norms_K.sort(stable=True)
    later = torch.nonzero(value_K[1:] == value_K[:-1])[:, 0] + 1
    duplicate_K = torch.zeros_like(half_norms_K, dtype=torch.bool)
    equal = (codes_KD[order_K[later]] == codes_KD[order_K[later - 1]]).all(1)
    duplicate_K[order_K[later[equal]]] = True
    return duplicate_K
