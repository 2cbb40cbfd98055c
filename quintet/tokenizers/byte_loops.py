"""Compiled loops of the screen of bytes: one pass over a block's products instead of twenty.

Shapes: n vectors, in m >= n columns, k codes of a block, of K, P pairs of a vector and a code. A
vector's own five numbers are its step, half norm, error, length with error, and length.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.compiled import compiled, first_call


@compiled
def lowest_places(
    products_km: Any, start: int, steps_K: Any, halves_K: Any, own_5n: Any, place_n: Any
) -> None:
    """Of each vector the place of the code whose distance seems least."""
    count, step_n = own_5n.shape[1], own_5n[0]
    least_n = np.full(count, np.float32(np.inf), np.float32)
    best_n = np.zeros(count, np.int32)
    for k in range(len(products_km)):
        step, half, products_m = steps_K[start + k], halves_K[start + k], products_km[k]
        for n in range(count):
            score = half - np.float32(products_m[n]) * step * step_n[n]
            best_n[n] = k if score < least_n[n] else best_n[n]
            least_n[n] = score if score < least_n[n] else least_n[n]
    for n in range(count):
        place_n[n] = start + best_n[n]


@compiled
def passing_groups(
    products_km: Any,
    start: int,
    size: int,
    steps_K: Any,
    nearest_K: Any,
    longest_K: Any,
    errors_K: Any,
    own_5n: Any,
    limit_n: Any,
    passes_Gn: Any,
) -> int:
    """Whether the lowest bound of a group of codes, `size` each, does not exceed a vector's limit;
    how often that is so."""
    count, total = own_5n.shape[1], 0
    step_n, half_n, error_n, length_n = own_5n[0], own_5n[1], own_5n[2], own_5n[3]
    most_n = np.empty(count, np.int32)
    for g in range(len(passes_Gn)):
        first, passes_n = g * size, passes_Gn[g]
        most_n[:] = products_km[first, :count]
        for k in range(first + 1, first + size):
            products_m = products_km[k]
            for n in range(count):
                most_n[n] = max(most_n[n], products_m[n])
        place = start + first
        step, nearest = steps_K[place], nearest_K[place]
        longest, error = longest_K[place], errors_K[place]
        found = 0
        for n in range(count):
            bound = nearest + half_n[n] - np.float32(most_n[n]) * step * step_n[n]
            bound -= longest * error_n[n] + error * length_n[n]
            passes_n[n] = bound <= limit_n[n]
            found += passes_n[n]
        total += found
    return total


@compiled
def passing_codes(
    products_km: Any,
    start: int,
    size: int,
    steps_K: Any,
    halves_K: Any,
    longest_K: Any,
    errors_K: Any,
    own_5n: Any,
    limit_n: Any,
    passes_Gn: Any,
    row_P: Any,
    place_P: Any,
    bound_P: Any,
) -> int:
    """The codes of passing groups whose own bounds pass, with these; how many pairs there are."""
    pairs = 0
    for g in range(len(passes_Gn)):
        for n in range(own_5n.shape[1]):
            if not passes_Gn[g, n]:
                continue
            for k in range(g * size, (g + 1) * size):
                place = start + k
                bound = halves_K[place] + own_5n[1, n]
                bound -= np.float32(products_km[k, n]) * steps_K[place] * own_5n[0, n]
                bound -= longest_K[place] * own_5n[2, n] + errors_K[place] * own_5n[3, n]
                if bound <= limit_n[n]:
                    row_P[pairs], place_P[pairs], bound_P[pairs] = n, place, bound
                    pairs += 1
    return pairs


def _prepare() -> None:
    """Compile, before a clock runs."""
    products_11, numbers_1 = np.zeros((1, 1), np.int32), np.zeros(1, np.float32)
    own_51, place_1 = np.zeros((5, 1), np.float32), np.zeros(1, np.int64)
    passes_11 = np.zeros((1, 1), np.bool_)
    with first_call(passing_codes):
        lowest_places(products_11, 0, numbers_1, numbers_1, own_51, place_1)
        group = (numbers_1, numbers_1, own_51, numbers_1, passes_11)
        passing_groups(products_11, 0, 1, numbers_1, numbers_1, *group)
        pairs = (place_1, place_1, numbers_1)
        passing_codes(products_11, 0, 1, numbers_1, numbers_1, *group, *pairs)


_prepare()
