"""Compiled loops of the codec: an LSTM's steps, each a dozen calls in PyTorch, and ELU in one pass.

Shapes: B streams, T steps, H width, G = 4 H gates: into, forget, change, out; I
inputs; P gates filled up; L numbers of a stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.compiled import ONE, ZERO, compiled, exp, first_call
from quintet.compiled.panels import add_few, pack, pack_for_few, padded, products

TWO = np.float32(2)


@compiled
def join(before_BPC: Any, x_BTC: Any, y_BSC: Any, falls: bool) -> None:
    """In time, one after the other: what was before, and x, or, where it `falls`, ELU of it: x, or
    exp(x) - 1 where that is less than 0. S = P + T."""
    past = before_BPC.shape[1]
    for stream in range(len(x_BTC)):
        y_BSC[stream, :past] = before_BPC[stream]
        if not falls:
            y_BSC[stream, past:] = x_BTC[stream]
            continue
        x_L, y_L = x_BTC[stream].reshape(-1), y_BSC[stream, past:].reshape(-1)
        for i in range(len(x_L)):
            less = exp(min(x_L[i], ZERO)) - ONE
            y_L[i] = less if x_L[i] < 0 else x_L[i]


@compiled
def lstm(
    x_TBI: Any,
    into: Any,
    bias_P: Any,
    back: Any,
    hidden_BH: Any,
    cell_BH: Any,
    made_TBH: Any,
) -> None:
    """Steps of one layer: hidden values go to `made_TBH`, and `cell_BH` becomes the last. `into`
    and `back` are what inputs and hidden values make of the gates, in panels."""
    (steps, batch, inputs), width = x_TBI.shape, cell_BH.shape[1]
    gates, filled, rows = 4 * width, len(bias_P), steps * batch
    gates_TBP, nothing_P = np.empty((steps, batch, filled), np.float32), np.zeros_like(bias_P)
    places_N, nothing_1P = 4 * inputs * np.arange(rows), nothing_P.reshape(1, filled)
    gates_NP, x_X = gates_TBP.reshape(rows, filled), x_TBI.reshape(rows * inputs)
    products(x_X, places_N, into, bias_P, nothing_1P, gates_NP, 0, filled)
    falls_G = np.empty(gates, np.float32)
    for t in range(steps):
        before_BH = hidden_BH if t == 0 else made_TBH[t - 1]
        # Every other step goes through the weights backwards and finds some of them still in the
        # cache: 4 MB a layer at 512 channels, four times what a core's own holds.
        add_few(before_BH, back, nothing_P, gates_TBP[t], t % 2 == 1)
        for b in range(batch):
            _step(gates_TBP[t, b, :gates], falls_G, cell_BH[b], made_TBH[t, b], width)


@compiled
def _step(gates_G: Any, falls_G: Any, cell_H: Any, made_H: Any, width: int) -> None:
    """exp of what is never positive, so that it never overflows."""
    for i in range(len(gates_G)):
        falls_G[i] = exp(-abs(gates_G[i]) * (TWO if 2 * width <= i < 3 * width else ONE))
    for i in range(width):
        fall = falls_G[i + 2 * width]
        change = (ONE - fall) / (ONE + fall)
        change = change if gates_G[i + 2 * width] >= 0 else -change
        fall, rise = falls_G[i], ONE if gates_G[i] >= 0 else falls_G[i]
        into = rise / (ONE + fall)
        fall, rise = falls_G[i + width], ONE if gates_G[i + width] >= 0 else falls_G[i + width]
        cell_H[i] = cell_H[i] * (rise / (ONE + fall)) + into * change
    for i in range(width):
        fall = exp(-TWO * abs(cell_H[i]))
        squashed = (ONE - fall) / (ONE + fall)
        squashed = squashed if cell_H[i] >= 0 else -squashed
        fall = falls_G[i + 3 * width]
        rise = ONE if gates_G[i + 3 * width] >= 0 else fall
        made_H[i] = squashed * (rise / (ONE + fall))


def _prepare() -> None:
    """Compile, before a clock runs or a batch has begun."""
    row_111, into = np.zeros((1, 1, 1), np.float32), pack(np.zeros((1, 4), np.float32))
    back = pack_for_few(np.zeros((4, 1), np.float32))
    bias_P, state_11 = padded(np.zeros(4)), np.zeros((1, 1), np.float32)
    with first_call(lstm):
        join(row_111[:, :0], row_111, row_111.copy(), True)
        lstm(row_111, into, bias_P, back, state_11, state_11, row_111)


_prepare()
