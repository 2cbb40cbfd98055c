"""The heads' answers at one tip as compiled functions: logits, and an entry chosen from them.

A frame of nano is 1.2 million multiplications, a tenth of a millisecond, and in PyTorch a hundred
calls. No index is checked here: `live.choices` does that.

Shapes: D = d_model, R entries of a choice, V = text_image_vocab_size.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.compiled import ONE, UNSEEN, ZERO, compiled, exp, first_call, multiply, rms_norm

LARGEST = np.finfo(np.float32).max
SILENT, NOT_CHOSEN = -1, -2  # what is given in the place of an entry
FEW = 32  # entries that are looked for one by one, before all are sorted


@compiled
def mix(
    hidden_D: Any, summed_D: Any, norm_D: Any, in_DD: Any, in_D: Any, out_DD: Any, out_D: Any,
    state_D: Any,
) -> None:  # fmt: skip
    """What a later sub-head reads, of the hidden vector and the choices before it."""
    size = len(hidden_D)
    mixed_2D = np.empty((2, size), np.float32)
    gate_1D = np.empty((1, size), np.float32)
    for i in range(size):
        mixed_2D[0, i] = hidden_D[i] + summed_D[i]
    rms_norm(mixed_2D[0], norm_D, mixed_2D[1])
    gate_1D[0] = in_D
    multiply(mixed_2D[1:], in_DD, gate_1D)
    for i in range(size):  # SiLU, by exp of what is never positive
        fall = exp(-abs(gate_1D[0, i]))
        gate_1D[0, i] *= (ONE if gate_1D[0, i] >= 0 else fall) / (ONE + fall)
    for i in range(size):
        state_D[i] = mixed_2D[0, i] + out_D[i]
    multiply(gate_1D, out_DD, state_D.reshape(1, size))


@compiled
def _largest(x_R: Any) -> int:
    """The first place of the largest number."""
    most = x_R[0]
    for r in range(len(x_R)):
        most = max(most, x_R[r])
    for r in range(len(x_R)):
        if x_R[r] == most:
            return r
    return 0  # where there is a NaN


@compiled
def choose(logits_R: Any, temperature: Any, top_p: Any, uniform: Any) -> int:
    """An entry: the likeliest, or at a temperature one of the likeliest, down to that by which
    their probabilities first exceed `top_p`; it is where `uniform` of their sum is reached.
    `NOT_CHOSEN` where a logit, or a sum of their weights, is no number."""
    wrong = 0
    for r in range(len(logits_R)):
        wrong += not logits_R[r] <= LARGEST
    best = _largest(logits_R)
    if wrong or logits_R[best] < -LARGEST:
        return NOT_CHOSEN
    if temperature <= 0:
        return best
    size, most = len(logits_R), logits_R[best]
    weights_R, total = np.empty(size, np.float32), ZERO
    for r in range(size):
        weights_R[r] = exp(max((logits_R[r] - most) / temperature, UNSEEN))
        total += weights_R[r]
    order_R = np.empty(size, np.int64)
    kept, reached, limit = 0, ZERO, top_p * total
    left_R = weights_R.copy()
    while kept < size and reached <= limit and kept < FEW:
        best = _largest(left_R)
        order_R[kept] = best
        reached += left_R[best]
        left_R[best] = -ONE
        kept += 1
    if kept == 0:  # a number above is none
        return NOT_CHOSEN
    if kept == FEW and reached <= limit:
        order_R = np.argsort(-weights_R, kind="mergesort")  # the first of equal ones first
        kept, reached = 0, ZERO
        while kept < size and reached <= limit:
            reached += weights_R[order_R[kept]]
            kept += 1
    wanted, passed = uniform * reached, ZERO
    for place in range(kept):
        passed += weights_R[order_R[place]]
        if passed > wanted:
            return order_R[place]
    return order_R[kept - 1]


@compiled
def entry(
    state_D: Any, weight_RD: Any, is_open: bool, temperature: Any, top_p: Any, uniform: Any
) -> int:
    """An entry of a choice; the last, `No Output`, only where it is open."""
    entries = len(weight_RD) if is_open else len(weight_RD) - 1
    logits_1R = np.zeros((1, entries), np.float32)
    multiply(state_D.reshape(1, len(state_D)), weight_RD[:entries], logits_1R)
    return choose(logits_1R[0], temperature, top_p, uniform)


@compiled
def silence(state_D: Any, weight_RD: Any) -> Any:
    """The probability of the last entry."""
    logits_1R = np.zeros((1, len(weight_RD)), np.float32)
    multiply(state_D.reshape(1, len(state_D)), weight_RD, logits_1R)
    return _last_share(logits_1R[0])


@compiled
def word(
    hidden_D: Any, weight_VD: Any, known: int, temperature: Any, top_p: Any, uniform: Any
) -> Any:
    """Of the first `known` entries and the last, which is `SILENT` here: an entry, and the
    probability of the last."""
    logits_1R = np.zeros((1, known + 1), np.float32)
    hidden_1D = hidden_D.reshape(1, len(hidden_D))
    multiply(hidden_1D, weight_VD[:known], logits_1R[:, :known])
    multiply(hidden_1D, weight_VD[-1:], logits_1R[:, known:])
    chosen = choose(logits_1R[0], temperature, top_p, uniform)
    return (SILENT if chosen == known else chosen), _last_share(logits_1R[0])


@compiled
def _last_share(logits_R: Any) -> Any:
    size, most = len(logits_R), logits_R[0]
    for r in range(size):
        most = max(most, logits_R[r])
    last, total = ZERO, ZERO
    for r in range(size):
        last = exp(max(logits_R[r] - most, UNSEEN))
        total += last
    return last / total


def _prepare() -> None:
    """Compile, before a clock runs."""
    vector_1, weight_21 = np.zeros(1, np.float32), np.zeros((2, 1), np.float32)
    square_11, zero = np.zeros((1, 1), np.float32), np.float32(0)
    with first_call(word):
        word(vector_1, weight_21, 1, zero, zero, zero)
        entry(vector_1, weight_21, True, zero, zero, zero)
        silence(vector_1, weight_21)
        mix(vector_1, vector_1, vector_1, square_11, vector_1, square_11, vector_1, vector_1)


_prepare()
