"""Attention of whole lines and its gradients, with products and sums in registers.

For the short heads of a small model PyTorch's kernels for a CPU take three times as long as their
products would (docs/log.md, 2026-11-29). Here the scores of a block of queries stay in the second
cache (of a megabyte, for lines of up to 3,000 rows), and every product is one of `panels`. A
key-value head of a line is worked on by one thread, in one order, so that the number of threads
changes no digit.

Shapes: B batch, T rows, H query heads, G key-value heads, E head width, whole registers (LANES);
R queries of a block, S rows filled up to whole panels, K blocks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from quintet.compiled import ONE, ZERO, compiled, exp, first_call
from quintet.compiled.instructions import FLOAT, INT, Loop, told
from quintet.compiled.panels import LANES, ROWS, WIDE, add_rows_narrow, add_rows_wide
from quintet.compiled.threads import side_by_side

BLOCK = 4 * ROWS  # R
HIDDEN = np.float32(-np.inf)  # the score of what is not seen


class Lines(NamedTuple):
    """All float32, row by row, but for what is seen."""

    q_BTHE: np.ndarray
    k_BTGE: np.ndarray
    v_BTGE: np.ndarray
    seen_BTT: np.ndarray  # bool, or `causal`
    y_BTHE: np.ndarray  # what is attended to
    log_BHT: np.ndarray  # of the sum of exp of a query's scores


class Slopes(NamedTuple):
    """Gradients, float32, row by row; the first is given."""

    y_BTHE: np.ndarray
    q_BTHE: np.ndarray
    k_BTGE: np.ndarray
    v_BTGE: np.ndarray


class Scratch(NamedTuple):
    """What a thread writes to. (An array made in a compiled function would be gone before the
    tiles read it: Numba sees no use in an address.) Places are in bytes."""

    keys: np.ndarray  # float32 [E * S]: as columns, in panels
    values: np.ndarray  # the same of values
    scores_RS: np.ndarray  # float32, which become shares
    slopes_RS: np.ndarray  # float32, of shares, which become those of scores
    for_keys_SE: np.ndarray  # float32, sums of gradients
    for_values_SE: np.ndarray
    nothing: np.ndarray  # float32 [WIDE], zeros
    columns_S: np.ndarray  # int64: where the columns of scores begin
    rows_R: np.ndarray  # int64: where their rows do
    queries_R: np.ndarray  # int64: where the queries of a head do
    sees_K2: np.ndarray  # int64: the first row that a block sees, and after the last

    @classmethod
    def of(cls, rows: int, heads: int, width: int) -> Scratch:
        filled, block = -(-rows // WIDE) * WIDE, np.arange(BLOCK)

        def numbers(*shape: int) -> np.ndarray:
            return np.zeros(shape, np.float32)

        return cls(
            keys=numbers(width * filled), values=numbers(width * filled),
            scores_RS=numbers(BLOCK, filled), slopes_RS=numbers(BLOCK, filled),
            for_keys_SE=numbers(filled, width), for_values_SE=numbers(filled, width),
            nothing=numbers(WIDE), columns_S=4 * np.arange(filled), rows_R=4 * filled * block,
            queries_R=4 * heads * width * block, sees_K2=np.zeros((-(-rows // BLOCK), 2), int),
        )  # fmt: skip


def causal(rows: int) -> np.ndarray:
    """In the place of a mask, where each row sees itself and those before it."""
    return np.zeros((1, 0, rows), bool)


def forward(
    q_BTHE: np.ndarray,
    k_BTGE: np.ndarray,
    v_BTGE: np.ndarray,
    seen_BTT: np.ndarray | None,
    threads: int,
) -> Lines:
    """Each row attends to those that it sees, which are all before it and itself where that is
    None; a row that sees none, to zero."""
    batch, rows, heads, _ = q_BTHE.shape
    seen_BTT = causal(rows) if seen_BTT is None else seen_BTT
    log_BHT = np.empty((batch, heads, rows), np.float32)
    lines = Lines(q_BTHE, k_BTGE, v_BTGE, seen_BTT, np.empty_like(q_BTHE), log_BHT)
    _share(functools.partial(_forward, lines), lines, threads)
    return lines


def backward(lines: Lines, for_y_BTHE: np.ndarray, threads: int) -> Slopes:
    made = (np.empty_like(x) for x in (lines.q_BTHE, lines.k_BTGE, lines.v_BTGE))
    slopes = Slopes(for_y_BTHE, *made)
    _share(functools.partial(_backward, lines, slopes), lines, threads)
    return slopes


def _share(work: Callable[[Any, int, int], None], lines: Lines, threads: int) -> None:
    """By threads, of some key-value heads each, counted through all lines."""
    (batch, rows, heads, width), groups = lines.q_BTHE.shape, lines.k_BTGE.shape[2]
    count = batch * groups
    threads = min(threads, count)
    cuts = [count * number // threads for number in range(threads + 1)] if count else []
    side_by_side([
        functools.partial(work, Scratch.of(rows, heads, width), a, b) for a, b in pairwise(cuts)
    ])  # fmt: skip


@told
def _largest(typing: Any, x: Any, count: Any) -> Any:
    """Of `count` times WIDE numbers at x."""

    def make(context: Any, builder: Any, signature: Any, args: tuple[Any, ...]) -> Any:
        loop, numbers = Loop(builder, LANES), ir.VectorType(FLOAT, LANES)
        pointer, least = loop.pointer(args[0]), ir.Constant(numbers, [float(HIDDEN)] * LANES)

        def more(one: Any, other: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", one, other), one, other)

        def add(i: Any, largest: list[Any]) -> list[Any]:
            begin = builder.gep(pointer, [builder.mul(i, ir.Constant(i.type, 4 * WIDE))])
            places = (ir.Constant(i.type, 4 * LANES * half) for half in range(len(largest)))
            return [
                more(loop.load(begin, place, numbers), most)
                for place, most in zip(places, largest, strict=True)
            ]

        most = more(*loop.sums(args[1], [least, least], add))
        lanes = (builder.extract_element(most, ir.Constant(INT, lane)) for lane in range(LANES))
        return functools.reduce(more, lanes)

    return types.float32(types.intp, types.intp), make


@compiled
def _lay_out(x_TE: Any, panels: Any) -> None:
    """As columns, in panels of WIDE; what is left of the last panel stays zero."""
    rows, width = x_TE.shape
    for t in range(rows):
        begin = t // WIDE * WIDE * width + t % WIDE
        for e in range(width):
            panels[begin + e * WIDE] = x_TE[t, e]


@compiled
def _look(seen_TT: Any, rows: int, sees_K2: Any) -> None:
    for block in range(len(sees_K2)):
        first, after = block * BLOCK, min(rows, (block + 1) * BLOCK)
        sees_K2[block, 0], sees_K2[block, 1] = 0, after
        if len(seen_TT) == 0:
            continue
        least, most = rows, 0
        for t in range(first, after):
            for s in range(rows):
                if seen_TT[t, s]:
                    least, most = min(least, s), max(most, s + 1)
        # At least one row, which none of them may see: a tile adds up one product or more.
        sees_K2[block, 0], sees_K2[block, 1] = min(least, most), max(most, 1)


@compiled
def _score(
    x: int, count: int, panels: Any, out_RS: Any, begin: int, end: int, scratch: Any
) -> None:
    """Products of a head's rows, `count` from the address x on, with the columns from `begin` to
    `end` of what is laid out in panels."""
    zeros, places = scratch.nothing.ctypes.data, scratch.queries_R.ctypes.data
    width, apart = len(panels) // out_RS.shape[1], 4 * out_RS.shape[1]
    for s in range(begin, end, WIDE):
        panel, out = panels[s * width :].ctypes.data, out_RS[0, s:].ctypes.data
        add_rows_wide(x, places, panel, zeros, zeros, out, count, width, 4 * WIDE, 4, apart, 0)


@compiled
def _gather(
    weights: int, places: int, between: int, rows: int, rows_apart: int, length: int, width: int,
    out: int, apart: int, count: int, zeros: int, more: bool,
) -> None:  # fmt: skip
    """Write to `count` rows, or with `more` add to them, the sums of `length` rows of `width`
    numbers, with weights that begin at the places and lie so many bytes between."""
    more_apart = apart if more else 0
    for e in range(0, width, WIDE):
        part, made = rows + 4 * e, out + 4 * e
        added = made if more else zeros
        if width - e >= WIDE:
            add_rows_wide(weights, places, part, zeros, added, made, count, length, rows_apart,
                          between, apart, more_apart)  # fmt: skip
        else:
            add_rows_narrow(weights, places, part, zeros, added, made, count, length, rows_apart,
                            between, apart, more_apart)  # fmt: skip


@compiled
def _hide(scores_S: Any, seen_TT: Any, t: int, begin: int, end: int, low: int, high: int) -> None:
    """Mark what row t does not see, of the scores from `begin` to `end`."""
    stop = high if len(seen_TT) else t + 1
    scores_S[begin:low] = HIDDEN
    scores_S[stop:end] = HIDDEN
    if len(seen_TT):  # from 0 on, or Numba takes one number after another
        part, seen = scores_S[low:high], seen_TT[t, low:high]
        for s in range(len(part)):
            part[s] = part[s] if seen[s] else HIDDEN


@compiled
def _weigh(scores_S: Any, scale: Any, largest: Any) -> Any:
    """exp of how far scores lie below the largest, in place; their sum."""
    total = ZERO
    for s in range(len(scores_S)):
        weight = exp((scores_S[s] - largest) * scale)
        weight = ZERO if scores_S[s] == HIDDEN else weight
        scores_S[s] = weight
        total += weight
    return total


@compiled
def _slope(scores_S: Any, slopes_S: Any, scale: Any, log: Any, mean: Any) -> None:
    """Scores become shares, and slopes of shares, whose mean is given, those of scores."""
    for s in range(len(scores_S)):
        share = exp(min(scores_S[s] * scale - log, ZERO))
        share = ZERO if scores_S[s] == HIDDEN else share
        scores_S[s] = share
        slopes_S[s] = share * (slopes_S[s] - mean) * scale


@compiled
def _queries_of(job: int, sees_K2: Any, first_head: int, rows: int) -> tuple[int, int, int]:
    """A job's head, first query, and how many there are."""
    h, block = divmod(job, len(sees_K2))
    return first_head + h, block * BLOCK, min(BLOCK, rows - block * BLOCK)


@compiled
def _forward(lines: Any, scratch: Any, first: int, last: int) -> None:
    _, rows, heads, width = lines.q_BTHE.shape
    groups = lines.k_BTGE.shape[2]
    scale, apart = ONE / np.sqrt(np.float32(width)), 4 * heads * width
    scores_RS, zeros = scratch.scores_RS, scratch.nothing.ctypes.data
    places, rows_apart = scratch.rows_R.ctypes.data, 4 * groups * width
    for pair in range(first, last):
        b, g = divmod(pair, groups)
        seen_TT = lines.seen_BTT[min(b, len(lines.seen_BTT) - 1)]
        if g == 0 or pair == first:
            _look(seen_TT, rows, scratch.sees_K2)
        _lay_out(lines.k_BTGE[b, :, g], scratch.keys)
        for job in range(heads // groups * len(scratch.sees_K2)):
            h, t, count = _queries_of(job, scratch.sees_K2, g * (heads // groups), rows)
            low, high = scratch.sees_K2[t // BLOCK]
            begin, end = low // WIDE * WIDE, -(-high // WIDE) * WIDE
            q, y = lines.q_BTHE[b, t, h].ctypes.data, lines.y_BTHE[b, t, h].ctypes.data
            _score(q, count, scratch.keys, scores_RS, begin, end, scratch)
            for r in range(count):
                _hide(scores_RS[r], seen_TT, t + r, begin, end, low, high)
                scores = scores_RS[r, begin:]
                largest = _largest(scores.ctypes.data, (end - begin) // WIDE)
                total = _weigh(scores[: end - begin], scale, largest)
                lines.log_BHT[b, h, t + r] = largest * scale + np.log(total) if total else ZERO
                share = ONE / total if total else ZERO
                for s in range(end - begin):
                    scores[s] *= share
            shares, v = scores_RS[0, begin:].ctypes.data, lines.v_BTGE[b, begin:, g].ctypes.data
            _gather(shares, places, 4, v, rows_apart, high - begin, width, y, apart, count, zeros,
                    False)  # fmt: skip


@compiled
def _backward(lines: Any, slopes: Any, scratch: Any, first: int, last: int) -> None:
    _, rows, heads, width = lines.q_BTHE.shape
    groups = lines.k_BTGE.shape[2]
    scale, apart = ONE / np.sqrt(np.float32(width)), 4 * heads * width
    scores_RS, slopes_RS = scratch.scores_RS, scratch.slopes_RS
    stride, rows_apart, own = 4 * scores_RS.shape[1], 4 * groups * width, 4 * width
    zeros, columns = scratch.nothing.ctypes.data, scratch.columns_S.ctypes.data
    for pair in range(first, last):
        b, g = divmod(pair, groups)
        seen_TT = lines.seen_BTT[min(b, len(lines.seen_BTT) - 1)]
        if g == 0 or pair == first:
            _look(seen_TT, rows, scratch.sees_K2)
        _lay_out(lines.k_BTGE[b, :, g], scratch.keys)
        _lay_out(lines.v_BTGE[b, :, g], scratch.values)
        scratch.for_keys_SE[:] = ZERO
        scratch.for_values_SE[:] = ZERO
        for job in range(heads // groups * len(scratch.sees_K2)):
            h, t, count = _queries_of(job, scratch.sees_K2, g * (heads // groups), rows)
            low, high = scratch.sees_K2[t // BLOCK]
            begin, end = low // WIDE * WIDE, -(-high // WIDE) * WIDE
            q, for_y = lines.q_BTHE[b, t, h].ctypes.data, slopes.y_BTHE[b, t, h].ctypes.data
            _score(q, count, scratch.keys, scores_RS, begin, end, scratch)
            _score(for_y, count, scratch.values, slopes_RS, begin, end, scratch)
            for r in range(count):
                _hide(scores_RS[r], seen_TT, t + r, begin, end, low, high)
                mean = ZERO
                for e in range(width):
                    mean += slopes.y_BTHE[b, t + r, h, e] * lines.y_BTHE[b, t + r, h, e]
                _slope(scores_RS[r, begin:end], slopes_RS[r, begin:end], scale,
                       lines.log_BHT[b, h, t + r], mean)  # fmt: skip
            shares, sloping = scores_RS[0, begin:].ctypes.data, slopes_RS[0, begin:].ctypes.data
            k, length = lines.k_BTGE[b, begin:, g].ctypes.data, high - begin
            for_q, for_k = (
                slopes.q_BTHE[b, t, h].ctypes.data,
                scratch.for_keys_SE[begin].ctypes.data,
            )
            for_v = scratch.for_values_SE[begin].ctypes.data
            _gather(sloping, scratch.rows_R.ctypes.data, 4, k, rows_apart, length, width, for_q,
                    apart, count, zeros, False)  # fmt: skip
            _gather(sloping, columns, stride, q, apart, count, width, for_k, own, length, zeros,
                    True)  # fmt: skip
            _gather(shares, columns, stride, for_y, apart, count, width, for_v, own, length, zeros,
                    True)  # fmt: skip
        for t in range(rows):
            slopes.k_BTGE[b, t, g] = scratch.for_keys_SE[t]
            slopes.v_BTGE[b, t, g] = scratch.for_values_SE[t]


def _prepare() -> None:
    """Compile, before a batch has begun."""
    x_1111 = np.zeros((1, 1, 1, LANES), np.float32)
    with first_call(_forward):
        backward(forward(x_1111, x_1111, x_1111, None, 1), x_1111, 1)


_prepare()
