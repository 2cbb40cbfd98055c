"""Screens: lower bounds of the distance from every vector to every code, cheaply.

A screen multiplies blocks of codes by the vectors, in the numbers that it keeps of both, and says
from the products what no code's distance can be below. The bounds. Let a', b' be a, b after
rounding. Then |a.b - a'.b'| <= |a| |b - b'| + |a - a'| |b'| (Cauchy and Schwarz), where every norm
is known once the codes and the vectors are rounded; and the error of adding E products in float32
is at most E 2^-24 times the sum of their magnitudes (Higham 2002, section 3.1), doubled here to be
safe.

Shapes: N vectors, n of them in a block, in m >= n columns, K codes, k of them in a block,
D = latent_dim, E columns of a screen's codes.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

CODES = 4_096  # prepared at once, so that what is between stays in the cache
FAR = 1e30  # half norm of a duplicate in the rounded screen: beyond any distance that it judges


class Block(NamedTuple):
    """Some vectors as a screen wants them."""

    columns_Em: Tensor
    own_n: Tensor  # what else a screen needs of each, [..., n]
    judged_n: Tensor  # whether the screen can judge them


class Screen(Protocol):
    """What a search asks of one."""

    dtype: torch.dtype  # of bounds

    @property
    def lowest(self) -> float:
        """No bound is below."""

    def prepare(self, vectors_nD: Tensor) -> Block:
        """The vectors as this screen wants them."""

    def bounds(self, start: int, stop: int, block: Block, out_km: Tensor) -> None:
        """Write the bounds [k, m] of the codes from start to stop."""

    def limit(self, square_n: Tensor, block: Block) -> Tensor:
        """The bound [n] that no code as near as these squared distances [n] exceeds."""


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
        limit_n = ((0.5 + 1e-12) * square_n + block.own_n).to(self.dtype)
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


def duplicates(codes_KD: Tensor, half_norms_K: Tensor) -> Tensor:
    """Which codes equal one of lower index [K]. It may miss some: that costs time only."""
    value_K, order_K = half_norms_K.sort(stable=True)
    later = torch.nonzero(value_K[1:] == value_K[:-1])[:, 0] + 1
    duplicate_K = torch.zeros_like(half_norms_K, dtype=torch.bool)
    equal = (codes_KD[order_K[later]] == codes_KD[order_K[later - 1]]).all(1)
    duplicate_K[order_K[later[equal]]] = True
    return duplicate_K
