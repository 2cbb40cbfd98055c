"""Compiled loops of the search with products of bytes: vectors in bytes, and who may be nearest.

Shapes: N vectors (of which the last may be filled up with zeros), K codes in G groups of GROUP,
D = latent_dim, E >= D bytes. A vector's own five numbers are its step, half the square of its
length, its rounding's error, its length with that error, and its length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from quintet.compiled import ONE, ZERO, compiled, compiled_in_order, first_call
from quintet.compiled.byte_products import GROUP, pack, products, start_of

MOST = 127  # steps that a byte holds
HALF = np.float32(0.5)
LEAST_STEP = np.float32(1e-30)
FAR = np.float32(1e15)  # beyond, squares leave the range of float32
CENTRED = np.float32(2.0**-21)  # of a length: what centring rounds off in float32
ABOVE = 0.5 * (1 + 1e-5)  # of a squared distance: more than half, also in float32
NEVER = np.float32(-np.inf)  # a limit that nothing passes
UNCERTAIN = 2.0**-24  # of squared lengths for each number: what adding in float32 may be off by


@compiled
def to_bytes(
    vectors_ND: Any, center_D: Any, rows_NE: Any, starts_N: Any, own_5N: Any, crowded_N: Any
) -> None:
    """Vectors, less the codes' mean, in bytes; and which are too far to be judged."""
    width = len(center_D)
    for n in range(len(vectors_ND)):
        vector_D, row_E = vectors_ND[n], rows_NE[n]
        reach, square, lost = ZERO, ZERO, ZERO
        for d in range(width):
            reach = max(reach, abs(vector_D[d] - center_D[d]))
        crowded_N[n] = not reach < FAR
        if crowded_N[n]:
            continue
        step = reach / np.float32(MOST)
        per_step = ONE / max(step, LEAST_STEP)
        for d in range(width):
            spread = vector_D[d] - center_D[d]
            steps = np.floor(min(max(spread * per_step, -MOST), MOST) + HALF)
            row_E[d] = np.int8(steps)
            square += spread * spread
            lost += (spread - steps * step) * (spread - steps * step)
        length = np.sqrt(square)
        error = np.sqrt(lost) + CENTRED * length
        starts_N[n] = start_of(row_E)
        own_5N[0, n], own_5N[1, n], own_5N[2, n] = step, HALF * square, error
        own_5N[3, n], own_5N[4, n] = length + error, length


@compiled_in_order
def square_of(vector_D: Any, code_D: Any, squares_D: Any) -> float:
    """The squared distance in float64, added in an order that depends on D alone, as the search's
    other ways add it."""
    width = len(vector_D)
    for d in range(width):
        apart = np.float64(vector_D[d]) - np.float64(code_D[d])
        squares_D[d] = apart * apart
    while width > 1:
        half = width // 2
        for d in range(half):
            squares_D[d] += squares_D[width - half + d]
        width -= half
    return squares_D[0]


@compiled
def likely_groups(most_GN: Any, step_G: Any, nearest_G: Any, own_5N: Any, group_N: Any) -> None:
    """Of each vector the group that would hold its nearest code if nothing had been rounded."""
    count, step_N = len(group_N), own_5N[0]
    least_N = np.full(count, np.float32(np.inf), np.float32)
    best_N = np.zeros(count, np.int32)
    for g in range(len(most_GN)):
        most_N, step, nearest = most_GN[g], step_G[g], nearest_G[g]
        for n in range(count):
            score = nearest - np.float32(most_N[n]) * step * step_N[n]
            best_N[n] = g if score < least_N[n] else best_N[n]
            least_N[n] = score if score < least_N[n] else least_N[n]
    for n in range(count):
        group_N[n] = best_N[n]


@compiled
def likely_place(
    codes_X: Any, row_E: Any, start_1: Any, first: int, step: Any, half_K: Any, sums_S: Any
) -> int:
    """The place of the code of a group, whose places begin with the `first`, that seems nearest to
    a vector; `step` is of both."""
    products(codes_X, row_E, start_1, sums_S)
    best, least = first, np.float32(np.inf)
    for s in range(min(GROUP, len(half_K) - first)):
        score = half_K[first + s] - np.float32(sums_S[s]) * step
        if score < least:
            best, least = first + s, score
    return best


@compiled
def bound_of(
    half: Any, product: int, step: Any, longest: Any, error: Any, own_5N: Any, n: int
) -> Any:
    """What half of the squared distance of vector n is not below, but for what computing it in
    float32 adds, of a code by half its square and its product; the others are of its group."""
    bound = half + own_5N[1, n] - np.float32(product) * step * own_5N[0, n]
    return bound - (longest * own_5N[2, n] + error * own_5N[3, n])


@compiled
def limit_of(square: float, width: int, length: Any, largest: Any) -> Any:
    """What the bound of no code as near as this exceeds, in float32, where vectors have so many
    numbers."""
    lengths = np.float64(length) * length + np.float64(largest) * largest
    return np.float32(ABOVE * square + UNCERTAIN * (width + 32) * lengths)


class Codes(NamedTuple):
    """A codebook in groups. A code's place is where it stands in them."""

    codes_KD: Any
    codes_GX: Any  # in bytes, packed
    code_K: Any  # which code stands at a place
    half_K: Any  # half of the square of its length
    of_groups_4G: Any  # step, lowest half, largest length, largest error
    largest: Any  # length of all


class Vectors(NamedTuple):
    """Those to search for."""

    vectors_ND: Any
    rows_NE: Any  # in bytes
    starts_N: Any
    own_5N: Any
    most_GN: Any  # the largest product with a code of each group


class Found(NamedTuple):
    """What is known of each vector."""

    ids_N: Any  # a code
    square_N: Any  # its squared distance
    crowded_N: Any  # too many codes are around it to say: it is passed over


@compiled
def guess(codes: Any, vectors: Any, found: Any) -> None:
    """A code that is near each vector."""
    step_G, nearest_G, _, _ = codes.of_groups_4G
    group_N, sums_S = np.zeros(len(found.ids_N), np.int64), np.zeros(GROUP, np.int32)
    squares_D = np.zeros(vectors.vectors_ND.shape[1])
    likely_groups(vectors.most_GN, step_G, nearest_G, vectors.own_5N, group_N)
    for n in range(len(found.ids_N)):
        if not found.crowded_N[n]:
            g = group_N[n]
            codes_X, step = codes.codes_GX[g], step_G[g] * vectors.own_5N[0, n]
            row_E, start_1 = vectors.rows_NE[n], vectors.starts_N[n:]
            place = likely_place(codes_X, row_E, start_1, g * GROUP, step, codes.half_K, sums_S)
            code = codes.code_K[place]
            found.ids_N[n] = code
            vector_D, code_D = vectors.vectors_ND[n], codes.codes_KD[code]
            found.square_N[n] = square_of(vector_D, code_D, squares_D)


@compiled
def improve(codes: Any, vectors: Any, found: Any, crowd: int) -> None:
    """The nearest code of each vector, of equally near ones the lowest, in place of a near one.
    Vectors with more than a `crowd` of codes around them are left, and marked."""
    own_5N, (ids_N, square_N, crowded_N) = vectors.own_5N, found
    count, width = len(ids_N), vectors.vectors_ND.shape[1]
    squares_D, sums_S = np.zeros(width), np.zeros(GROUP, np.int32)
    limit_N, passes_N = np.empty(count, np.float32), np.empty(count, np.bool_)
    compared_N = np.zeros(count, np.int64)
    for n in range(count):
        limit = limit_of(square_N[n], width, own_5N[4, n], codes.largest)
        limit_N[n] = NEVER if crowded_N[n] else limit
    for g in range(len(codes.codes_GX)):
        step, lowest, longest, error = codes.of_groups_4G[:, g]
        most_N, some = vectors.most_GN[g], 0
        for n in range(count):
            bound = bound_of(lowest, most_N[n], step, longest, error, own_5N, n)
            passes_N[n] = bound <= limit_N[n]
            some += passes_N[n]
        for n in range(count if some else 0):
            if not passes_N[n]:
                continue
            products(codes.codes_GX[g], vectors.rows_NE[n], vectors.starts_N[n:], sums_S)
            for place in range(g * GROUP, min((g + 1) * GROUP, len(codes.half_K))):
                half, product = codes.half_K[place], sums_S[place - g * GROUP]
                if bound_of(half, product, step, longest, error, own_5N, n) <= limit_N[n]:
                    code, compared_N[n] = codes.code_K[place], compared_N[n] + 1
                    square = square_of(vectors.vectors_ND[n], codes.codes_KD[code], squares_D)
                    if square < square_N[n] or (square == square_N[n] and code < ids_N[n]):
                        square_N[n], ids_N[n] = square, code
                        limit_N[n] = limit_of(square, width, own_5N[4, n], codes.largest)
            if compared_N[n] > crowd:
                crowded_N[n], limit_N[n] = True, NEVER


def _prepare() -> None:
    """Compile, before a clock runs."""
    vectors_11, rows_14 = np.ones((1, 1), np.float32), np.zeros((1, 4), np.int8)
    own_51, crowded_1 = np.zeros((5, 1), np.float32), np.zeros(1, np.bool_)
    center_1, ids_1 = np.zeros(1, np.float32), np.zeros(1, np.int64)
    most_11, of_groups_41 = np.zeros((1, 1), np.int32), np.zeros((4, 1), np.float32)
    starts_1 = np.zeros(1, np.int32)
    codes = Codes(vectors_11, pack(rows_14), ids_1, center_1, of_groups_41, ONE)
    vectors = Vectors(vectors_11, rows_14, starts_1, own_51, most_11)
    found = Found(ids_1, np.zeros(1), crowded_1)
    with first_call(improve):
        to_bytes(vectors_11, center_1, rows_14, starts_1, own_51, crowded_1)
        guess(codes, vectors, found)
        improve(codes, vectors, found, 1)


_prepare()
