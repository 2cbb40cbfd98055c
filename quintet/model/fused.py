"""A layer of the trunk as one compiled function, for a few new rows of sessions.

A row of nano is 2.4 million multiplications, a sixth of a millisecond, and in PyTorch 270 calls,
which take ten times as long (docs/log.md, 2026-11-28). No index is checked here: `decode` does
that.

Shapes: N new rows, D = d_model, F feed-forward width, B sessions, C slots of each, S slots in use,
G key-value heads, M heads of a group (its query heads, its key, its value), E head width, P pairs
of it that are turned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.compiled import LEAST, ONE, UNSEEN, ZERO, compiled, exp, rms_norm
from quintet.compiled.panels import FEW, add_few, weighted_sums

TINY = np.float32(1e-30)


@compiled
def _weigh(q_E: Any, k_SE: Any, order_S: Any, last: int, scores_S: Any) -> None:
    """How much a head's query takes of each row, the row at place `last` included."""
    seen, width = len(order_S), len(q_E)
    scale, most, total = ONE / np.sqrt(np.float32(width)), UNSEEN, TINY
    # Four sums at a time: 94 instead of 128 µs a layer for sixteen rows (docs/log.md).
    for s in range(0, seen - 3, 4):
        k0_E, k1_E, k2_E, k3_E = k_SE[s], k_SE[s + 1], k_SE[s + 2], k_SE[s + 3]
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        for e in range(width):
            q = q_E[e]
            a, b, c, d = a + q * k0_E[e], b + q * k1_E[e], c + q * k2_E[e], d + q * k3_E[e]
        scores_S[s], scores_S[s + 1] = a * scale, b * scale
        scores_S[s + 2], scores_S[s + 3] = c * scale, d * scale
    for s in range(seen - seen % 4, seen):
        a = ZERO
        for e in range(width):
            a += q_E[e] * k_SE[s, e]
        scores_S[s] = a * scale
    for s in range(seen):
        if order_S[s] < 0 or order_S[s] > last:
            scores_S[s] = UNSEEN
    for s in range(seen):
        most = max(most, scores_S[s])
    for s in range(seen):
        weight = exp(scores_S[s] - most)
        weight = ZERO if scores_S[s] <= UNSEEN else weight
        scores_S[s] = weight
        total += weight
    share = ONE / total
    for s in range(seen):
        scores_S[s] *= share


@compiled
def _attend(
    heads_ME: Any,
    k_SE: Any,
    v_SE: Any,
    order_S: Any,
    last: int,
    weights_RS: Any,
    places_R: Any,
    nothing: Any,
    y_RE: Any,
) -> None:
    """The queries of a group of one row, which sees its session's rows up to the `last`. R: query
    heads, filled up to what is added at once."""
    for h in range(len(heads_ME) - 2):
        _weigh(heads_ME[h], k_SE, order_S, last, weights_RS[h])
    weighted_sums(weights_RS, places_R, v_SE, len(order_S), nothing, y_RE)


@compiled
def _gate(gate: Any, up: Any) -> None:
    """up *= silu(gate)."""
    for i in range(len(gate)):
        fall = exp(-LEAST if gate[i] < LEAST else -gate[i])
        up[i] = up[i] * gate[i] / (ONE + fall)


@compiled
def _normalize_and_turn(heads_GME: Any, query_norm_E: Any, key_norm_E: Any, turns_P2: Any) -> None:
    """Queries and keys of one row, normalized; neighbouring places as pairs, turned; in place."""
    groups, members, _ = heads_GME.shape
    for g in range(groups):
        for m in range(members - 1):
            head_E = heads_GME[g, m]
            rms_norm(head_E, key_norm_E if m == members - 2 else query_norm_E, head_E)
            for p in range(len(turns_P2)):
                (cos, sin), (first, second) = turns_P2[p], head_E[2 * p : 2 * p + 2]
                head_E[2 * p] = first * cos - second * sin
                head_E[2 * p + 1] = first * sin + second * cos


@compiled
def _in_use(order_C: Any) -> int:
    """S: the first so many slots hold every row of a session."""
    seen = len(order_C)
    while seen and order_C[seen - 1] < 0:
        seen -= 1
    return seen


@compiled
def normalize(x_ND: Any, weight_D: Any) -> Any:
    """RMS norm of each row, [N, D]."""
    y_ND = np.empty_like(x_ND)
    for n in range(len(x_ND)):
        rms_norm(x_ND[n], weight_D, y_ND[n])
    return y_ND


@compiled
def extend_layer(
    x_ND: Any,
    norm_D: Any,
    query_norm_E: Any,
    key_norm_E: Any,
    ff_norm_D: Any,
    qkv: Any,
    out: Any,
    gate: Any,
    up: Any,
    down: Any,
    keys: Any,
    values: Any,
    session_N: Any,
    slot_N: Any,
    orders_BC: Any,
    turns_NP2: Any,
) -> None:
    """`x_ND` is written over, and keys and values go to their slots.

    Args:
        qkv, out, gate, up, down: matrices as `pack_for_few` lays them out.
        keys, values: of the layer, [B, G, C + 1, E].
        session_N, slot_N: where each row lies.
        orders_BC: of the rows in all slots, the new ones included; -1 where there is none.
        turns_NP2: cosine and sine; P is 0 where nothing is turned.
    """
    count, (_, groups, slots, head) = len(x_ND), keys.shape
    width, hidden = x_ND.shape[1], len(gate) // x_ND.shape[1]
    group = len(qkv) // width // (groups * head)
    heads_NGME = np.zeros((count, groups, group, head), np.float32)
    y_NGHE = np.empty((count, groups, group - 2, head), np.float32)
    gate_NF = np.zeros((count, hidden), np.float32)
    filled = -(-(group - 2) // FEW) * FEW
    up_NF, weights_RS = np.zeros_like(gate_NF), np.zeros((filled, slots), np.float32)
    places_R, y_RE = 4 * slots * np.arange(filled), np.empty((filled, head), np.float32)
    nothing_P = np.zeros(max(len(qkv) // width, hidden, width, head), np.float32)
    add_few(normalize(x_ND, norm_D), qkv, nothing_P, heads_NGME.reshape(count, -1))
    for n in range(count):
        _normalize_and_turn(heads_NGME[n], query_norm_E, key_norm_E, turns_NP2[n])
        keys[session_N[n], :, slot_N[n]] = heads_NGME[n, :, group - 2]
        values[session_N[n], :, slot_N[n]] = heads_NGME[n, :, group - 1]
    for n in range(count):
        session = session_N[n]
        order_S = orders_BC[session, : _in_use(orders_BC[session])]
        for g in range(groups):
            _attend(heads_NGME[n, g], keys[session, g], values[session, g], order_S,
                    order_S[slot_N[n]], weights_RS, places_R, nothing_P, y_RE)  # fmt: skip
            y_NGHE[n, g] = y_RE[: group - 2]
    add_few(y_NGHE.reshape(count, -1), out, nothing_P, x_ND)
    normed_ND = normalize(x_ND, ff_norm_D)
    add_few(normed_ND, gate, nothing_P, gate_NF)
    add_few(normed_ND, up, nothing_P, up_NF)
    _gate(gate_NF.reshape(-1), up_NF.reshape(-1))
    add_few(up_NF, down, nothing_P, x_ND)
