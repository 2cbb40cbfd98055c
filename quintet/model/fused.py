"""A layer of the trunk as one compiled function, for a few new rows of sessions.

A row of nano is 2.4 million multiplications, a sixth of a millisecond, and in PyTorch 270 calls,
which take ten times as long (docs/log.md, 2026-11-28). Numba compiles this file for the processor
at hand, once, and keeps what it made. Each row is computed by itself: who else is in the batch
changes no digit of it. No index is checked here: `decode` does that.

Shapes: N new rows, D = d_model, F feed-forward width, B sessions, C slots of each, S slots in use,
G key-value heads, M heads of a group (its query heads, its key, its value), E head width, P pairs
of it that are turned, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

EPSILON = np.finfo(np.float32).eps  # as PyTorch's rms_norm adds it
UNSEEN, TINY = np.float32(-1e30), np.float32(1e-30)
LEAST = np.float32(-87)  # exp of less is no normal number
PER_LOG2, HALF, ONE, ZERO = (np.float32(x) for x in (1.4426950408889634, 0.5, 1, 0))
# 2**x for -0.5 <= x <= 0.5, highest power first: Taylor's series, to 2e-7.
POWERS = tuple(
    np.float32(np.log(2) ** n / np.prod(np.arange(1.0, n + 1))) for n in range(6, -1, -1)
)
# Sums may be taken in another order. Nothing is said of NaN and infinity: they stay what they are.
MATHS = {"reassoc", "contract", "nsz", "arcp", "afn"}


def _compiled(function: Callable[..., Any]) -> Any:
    """Where no folder can be written to, each process compiles anew, some seconds."""
    options: dict[str, Any] = {"nogil": True, "fastmath": MATHS, "error_model": "numpy"}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:
        return numba.njit(function, **options)


@_compiled
def _add_four(y_O: Any, o: int, a: Any, b: Any, c: Any, d: Any) -> None:
    y_O[o] += a
    y_O[o + 1] += b
    y_O[o + 2] += c
    y_O[o + 3] += d


@_compiled
def _multiply(x_NI: Any, weight_OI: Any, y_NO: Any) -> None:
    """x weight^T is added to y: eight sums at a time, of two rows by four outputs, or of one by
    eight, which come out alike."""
    rows, inputs = x_NI.shape
    outputs = len(weight_OI)
    even, whole = rows - rows % 2, outputs - outputs % 8
    for o in range(0, whole, 4):
        w0_I, w1_I, w2_I, w3_I = weight_OI[o], weight_OI[o + 1], weight_OI[o + 2], weight_OI[o + 3]
        for n in range(0, even, 2):
            one_I, two_I = x_NI[n], x_NI[n + 1]
            a, b, c, d, e, f, g, h = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
            for i in range(inputs):
                one, two = one_I[i], two_I[i]
                w0, w1, w2, w3 = w0_I[i], w1_I[i], w2_I[i], w3_I[i]
                a, b, c, d = a + w0 * one, b + w1 * one, c + w2 * one, d + w3 * one
                e, f, g, h = e + w0 * two, f + w1 * two, g + w2 * two, h + w3 * two
            _add_four(y_NO[n], o, a, b, c, d)
            _add_four(y_NO[n + 1], o, e, f, g, h)
    for n in range(even, rows):
        x_I, y_O = x_NI[n], y_NO[n]
        for o in range(0, whole, 8):
            w = weight_OI[o : o + 8]
            a, b, c, d, e, f, g, h = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
            for i in range(inputs):
                x = x_I[i]
                a, b, c, d = a + w[0, i] * x, b + w[1, i] * x, c + w[2, i] * x, d + w[3, i] * x
                e, f, g, h = e + w[4, i] * x, f + w[5, i] * x, g + w[6, i] * x, h + w[7, i] * x
            _add_four(y_O, o, a, b, c, d)
            _add_four(y_O, o + 4, e, f, g, h)
    for o in range(whole, outputs):
        for n in range(rows):
            a = ZERO
            for i in range(inputs):
                a += weight_OI[o, i] * x_NI[n, i]
            y_NO[n, o] += a


@_compiled
def _normalize(x_I: Any, weight_I: Any, y_I: Any) -> None:
    """RMS norm of one row or head; `y` may be `x`."""
    total = ZERO
    for i in range(len(x_I)):
        total += x_I[i] * x_I[i]
    scale = ONE / np.sqrt(total / np.float32(len(x_I)) + EPSILON)
    for i in range(len(x_I)):
        y_I[i] = x_I[i] * scale * weight_I[i]


@_compiled
def _exp(x: Any, count: int, bits: Any) -> None:
    """exp of the first so many numbers, in place; zero of what is unseen. `bits`: int32 scratch."""
    powers = bits.view(np.float32)
    for i in range(count):  # 2**n, as the bits of a float32
        exponent = (LEAST if x[i] < LEAST else x[i]) * PER_LOG2
        bits[i] = (np.int32(np.floor(exponent + HALF)) + 127) << 23
    for i in range(count):
        exponent = (LEAST if x[i] < LEAST else x[i]) * PER_LOG2
        rest = exponent - np.floor(exponent + HALF)
        power = POWERS[0] * rest + POWERS[1]
        power = power * rest + POWERS[2]
        power = power * rest + POWERS[3]
        power = power * rest + POWERS[4]
        power = power * rest + POWERS[5]
        power = power * rest + POWERS[6]
        x[i] = ZERO if x[i] <= UNSEEN else power * powers[i]


@_compiled
def _attend(
    q_E: Any, k_SE: Any, v_SE: Any, order_S: Any, last: int, scores_S: Any, bits: Any, y_E: Any
) -> None:
    """One head of one row, which sees its session's rows up to the `last`."""
    seen, width = len(order_S), len(q_E)
    scale, most, total = ONE / np.sqrt(np.float32(width)), UNSEEN, TINY
    for s in range(seen):
        score = ZERO
        for e in range(width):
            score += q_E[e] * k_SE[s, e]
        scores_S[s] = score * scale
    for s in range(seen):
        if order_S[s] < 0 or order_S[s] > last:
            scores_S[s] = UNSEEN
    for s in range(seen):
        most = max(most, scores_S[s])
    for s in range(seen):
        scores_S[s] = UNSEEN if scores_S[s] <= UNSEEN else scores_S[s] - most
    _exp(scores_S, seen, bits)
    for s in range(seen):
        total += scores_S[s]
    share = ONE / total
    y_E[:] = ZERO
    for s in range(0, seen - 3, 4):
        a, b = scores_S[s] * share, scores_S[s + 1] * share
        c, d = scores_S[s + 2] * share, scores_S[s + 3] * share
        for e in range(width):
            y_E[e] += a * v_SE[s, e] + b * v_SE[s + 1, e] + c * v_SE[s + 2, e] + d * v_SE[s + 3, e]
    for s in range(seen - seen % 4, seen):
        a = scores_S[s] * share
        for e in range(width):
            y_E[e] += a * v_SE[s, e]


@_compiled
def _gate(gate: Any, up: Any, bits: Any) -> None:
    """up *= silu(gate), of which exp(-gate) takes the place."""
    for i in range(len(gate)):
        up[i] *= gate[i]
        gate[i] = -LEAST if gate[i] < LEAST else -gate[i]
    _exp(gate, len(gate), bits)
    for i in range(len(gate)):
        up[i] /= ONE + gate[i]


@_compiled
def _normalize_and_turn(heads_GME: Any, query_norm_E: Any, key_norm_E: Any, turns_P2: Any) -> None:
    """Queries and keys of one row, normalized; neighbouring places as pairs, turned; in place."""
    groups, members, _ = heads_GME.shape
    for g in range(groups):
        for m in range(members - 1):
            head_E = heads_GME[g, m]
            _normalize(head_E, key_norm_E if m == members - 2 else query_norm_E, head_E)
            for p in range(len(turns_P2)):
                (cos, sin), (first, second) = turns_P2[p], head_E[2 * p : 2 * p + 2]
                head_E[2 * p] = first * cos - second * sin
                head_E[2 * p + 1] = first * sin + second * cos


@_compiled
def _in_use(order_C: Any) -> int:
    """S: the first so many slots hold every row of a session."""
    seen = len(order_C)
    while seen and order_C[seen - 1] < 0:
        seen -= 1
    return seen


@_compiled
def normalize(x_ND: Any, weight_D: Any) -> Any:
    """RMS norm of each row, [N, D]."""
    y_ND = np.empty_like(x_ND)
    for n in range(len(x_ND)):
        _normalize(x_ND[n], weight_D, y_ND[n])
    return y_ND


@_compiled
def extend_layer(
    x_ND: Any,
    norm_D: Any,
    qkv_OD: Any,
    query_norm_E: Any,
    key_norm_E: Any,
    out_DO: Any,
    ff_norm_D: Any,
    gate_FD: Any,
    up_FD: Any,
    down_DF: Any,
    keys: Any,
    values: Any,
    session_N: Any,
    slot_N: Any,
    orders_BC: Any,
    turns_NP2: Any,
) -> None:
    """`x_ND` is written over, and keys and values go to their slots.

    Args:
        keys, values: of the layer, [B, G, C + 1, E].
        session_N, slot_N: where each row lies.
        orders_BC: of the rows in all slots, the new ones included; -1 where there is none.
        turns_NP2: cosine and sine; P is 0 where nothing is turned.
    """
    count, (_, groups, slots, head) = len(x_ND), keys.shape
    group = len(qkv_OD) // (groups * head)
    heads_NGME = np.zeros((count, groups, group, head), np.float32)
    y_NGHE = np.empty((count, groups, group - 2, head), np.float32)
    gate_NF = np.zeros((count, len(gate_FD)), np.float32)
    up_NF, scores_S = np.zeros_like(gate_NF), np.empty(slots, np.float32)
    bits = np.empty(max(slots, gate_NF.size), np.int32)
    _multiply(normalize(x_ND, norm_D), qkv_OD, heads_NGME.reshape(count, -1))
    for n in range(count):
        _normalize_and_turn(heads_NGME[n], query_norm_E, key_norm_E, turns_NP2[n])
        keys[session_N[n], :, slot_N[n]] = heads_NGME[n, :, group - 2]
        values[session_N[n], :, slot_N[n]] = heads_NGME[n, :, group - 1]
    for n in range(count):
        session = session_N[n]
        order_S = orders_BC[session, : _in_use(orders_BC[session])]
        for g in range(groups):
            for h in range(group - 2):
                _attend(heads_NGME[n, g, h], keys[session, g], values[session, g], order_S,
                        order_S[slot_N[n]], scores_S, bits, y_NGHE[n, g, h])  # fmt: skip
    _multiply(y_NGHE.reshape(count, -1), out_DO, x_ND)
    normed_ND = normalize(x_ND, ff_norm_D)
    _multiply(normed_ND, gate_FD, gate_NF)
    _multiply(normed_ND, up_FD, up_NF)
    _gate(gate_NF.reshape(-1), up_NF.reshape(-1), bits)
    _multiply(up_NF, down_DF, x_ND)
