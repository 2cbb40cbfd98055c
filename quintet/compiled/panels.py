"""Products of rows with a matrix at the processor's full speed: the matrix lies in panels of a few
columns, and a tile of rows and columns is added up in registers, by a loop that Numba is told
instruction by instruction (its own vectorizer writes every sum to memory).

A row may begin anywhere, also within another: a convolution over channels that lie side by side is
a product of overlapping rows. Each number is added up by itself, in the order of the inputs: which
rows are computed together, or in which piece of a stream, changes no digit of it.

Shapes: N rows, I inputs, O outputs, P outputs filled up to whole lanes. `length` is I.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from quintet.compiled import ZERO, compiled, first_call
from quintet.compiled.instructions import FLOAT, Loop, has, told
from quintet.compiled.threads import side_by_side

WORTH = 16_000_000  # multiplications of a thread: a quarter of a millisecond


def _registers() -> tuple[int, int]:
    """Numbers that one holds, and rows of a tile: two registers of sums for each of the rows, two
    of the matrix and one of the row leave none to spare without AVX-512, which has 32 of them."""
    if has("avx512f"):
        return 16, 10
    return (8, 6) if has("fma") else (4, 6)


LANES, ROWS = _registers()
NARROW, WIDE, WIDEST = LANES, 2 * LANES, 8 * LANES  # columns of panels
FEW = 4  # rows of a smaller tile


def padded_width(outputs: int) -> int:
    """P."""
    return -(-outputs // LANES) * LANES


def pack(matrix_IO: np.ndarray, width: int = WIDE) -> np.ndarray:
    """The matrix in panels of `width` columns, one after another, and what is left over in such of
    WIDE and of NARROW: float32 [I * P]."""
    inputs, outputs = matrix_IO.shape
    filled_IP = np.zeros((inputs, padded_width(outputs)), np.float32)
    filled_IP[:, :outputs] = matrix_IO
    panels, first = [], 0
    while first < filled_IP.shape[1]:
        left = filled_IP.shape[1] - first
        columns = next(size for size in (width, WIDE, NARROW) if size <= left)
        panels.append(filled_IP[:, first : first + columns].reshape(-1))
        first += columns
    return np.concatenate(panels)


def pack_for_few(weight_OI: np.ndarray) -> np.ndarray:
    """A matrix as layers have it, for `add_few`, float32 [O * I]: in panels of WIDEST columns and
    what is left over; its last rows, too few for a register, as they are."""
    whole = len(weight_OI) - len(weight_OI) % LANES
    packed = pack(weight_OI[:whole].T, WIDEST) if whole else np.empty(0, np.float32)
    return np.concatenate([packed, np.asarray(weight_OI[whole:], np.float32).reshape(-1)])


def padded(bias_O: np.ndarray) -> np.ndarray:
    """A bias, float32 [P]."""
    return np.pad(np.asarray(bias_O, np.float32), (0, padded_width(len(bias_O)) - len(bias_O)))


def _build(builder: Any, args: tuple[Any, ...], rows: int, columns: int) -> None:
    """The instructions of `_tile`."""
    *addresses, length, width, between, apart, more_apart = args
    tile, numbers = Loop(builder, LANES), ir.VectorType(FLOAT, LANES)
    x, places, panel, bias, more, out = map(tile.pointer, addresses)

    def count(value: int) -> Any:
        return ir.Constant(length.type, value)

    def registers(row: Any) -> list[Any]:
        return [tile.load(row, count(4 * LANES * c), numbers) for c in range(columns)]

    def row_of(pointer: Any, bytes_apart: Any, row: int) -> Any:
        return builder.gep(pointer, [builder.mul(bytes_apart, count(row))])

    def add(i: Any, totals: list[Any]) -> list[Any]:
        of_columns = registers(builder.gep(panel, [builder.mul(i, width)]))
        values = [tile.spread(tile.load(x, builder.mul(i, between), FLOAT)) for x in begins]
        pairs = [(value, column) for value in values for column in of_columns]
        return [
            builder.call(multiply_add, [value, column, total])
            for (value, column), total in zip(pairs, totals, strict=True)
        ]

    kind = ir.FunctionType(numbers, [numbers] * 3)
    multiply_add = cgutils.get_or_insert_function(
        builder.module, kind, f"llvm.fmuladd.v{LANES}f32"
    )  # fmt: skip
    of_bias = registers(bias)
    begins = [
        builder.gep(x, [tile.load(places, count(8 * row), length.type)]) for row in range(rows)
    ]
    starts = [
        builder.fadd(start, added)
        for row in range(rows)
        for start, added in zip(of_bias, registers(row_of(more, more_apart, row)), strict=True)
    ]
    for index, total in enumerate(tile.sums(length, starts, add)):
        row, column = divmod(index, columns)
        tile.store(total, row_of(out, apart, row), count(4 * LANES * column))


def _tile(rows: int, columns: int) -> Any:
    """The sums of so many rows with so many registers of the columns of a panel, at addresses: the
    rows' numbers, where each begins, in bytes (int64), the panel, the bias, what else is added to
    the rows, the sums; and counts: of inputs, and of bytes between the rows of the panel, the
    numbers of a row, the rows of the sums and of what is added."""

    @told
    def tile(
        typing: Any,
        x: Any,
        places: Any,
        panel: Any,
        bias: Any,
        more: Any,
        out: Any,
        length: Any,
        width: Any,
        between: Any,
        apart: Any,
        more_apart: Any,
    ) -> Any:
        def make(context: Any, builder: Any, signature: Any, args: tuple[Any, ...]) -> Any:
            _build(builder, args, rows, columns)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 11), make

    return tile


def _rows_of(columns: int) -> Any:
    """What `_tile` does, for any `count` of rows."""
    many, four, three, two, one = (_tile(rows, columns) for rows in (ROWS, FEW, 3, 2, 1))

    @numba.njit(nogil=True)
    def add(
        x: int, places: int, panel: int, bias: int, more: int, out: int, count: int,
        length: int, width: int, between: int, apart: int, more_apart: int,
    ) -> None:  # fmt: skip
        n = 0
        while n < count:
            left, begin = count - n, places + 8 * n
            row, made = more + n * more_apart, out + n * apart
            if left >= ROWS:
                many(x, begin, panel, bias, row, made, length, width, between, apart, more_apart)
                n += ROWS
            elif left >= FEW:
                four(x, begin, panel, bias, row, made, length, width, between, apart, more_apart)
                n += FEW
            elif left == 3:
                three(x, begin, panel, bias, row, made, length, width, between, apart, more_apart)
                n += 3
            elif left == 2:
                two(x, begin, panel, bias, row, made, length, width, between, apart, more_apart)
                n += 2
            else:
                one(x, begin, panel, bias, row, made, length, width, between, apart, more_apart)
                n += 1

    return add


add_rows_wide, add_rows_narrow = _rows_of(2), _rows_of(1)


def _columns_of(columns: int) -> Any:
    """The products of all rows with one panel of so many registers of columns."""
    width, add_rows = 4 * LANES * columns, add_rows_wide if columns == 2 else add_rows_narrow

    @numba.njit(nogil=True)
    def add(
        x: int, places_N: Any, panel: int, bias_P: Any, more_MP: Any, out_NP: Any, first: int,
        length: int,
    ) -> None:  # fmt: skip
        count, apart = out_NP.shape[0], 4 * out_NP.shape[1]
        more_apart = apart if len(more_MP) > 1 else 0
        places, bias = places_N.ctypes.data, bias_P[first:].ctypes.data
        more, out = more_MP[0, first:].ctypes.data, out_NP[0, first:].ctypes.data
        add_rows(x, places, panel, bias, more, out, count, length, width, 4, apart, more_apart)

    return add


_add_wide, _add_narrow = _columns_of(2), _columns_of(1)
few_of_two, few_of_one = _tile(FEW, 2), _tile(FEW, 1)
_one_of_eight = _tile(1, 8)


@compiled
def add_few(x_NI: Any, panels: Any, nothing_P: Any, out_NP: Any, backwards: bool = False) -> int:
    """Add to `out_NP` the products of a few rows with a matrix that `pack_for_few` has laid out;
    its panels are read one after another, or the last first. (With panels of WIDE columns one row
    would wait for its sums.) `nothing_P`: zeros."""
    (count, length), apart = x_NI.shape, 4 * out_NP.shape[1]
    outputs = len(panels) // length
    filled = outputs - outputs % LANES
    places_N = 4 * length * np.arange(count)
    x, bias, places = x_NI.ctypes.data, nothing_P.ctypes.data, places_N.ctypes.data
    wide, whole, width = filled // WIDEST, count - count % FEW, 4 * WIDEST
    for index in range(wide if count else 0):
        first = WIDEST * (wide - 1 - index if backwards else index)
        panel, out = panels[first * length :].ctypes.data, out_NP[0, first:].ctypes.data
        for n in range(0, whole, FEW):
            for column in range(0, 4 * WIDEST, 4 * WIDE):
                sums, part, begin = out + n * apart + column, panel + column, places + 8 * n
                few_of_two(x, begin, part, bias, sums, sums, length, width, 4, apart, apart)
        for n in range(whole, count):
            sums, begin = out + n * apart, places + 8 * n
            _one_of_eight(x, begin, panel, bias, sums, sums, length, width, 4, apart, apart)
    for first in range(wide * WIDEST, filled if count else 0, WIDE):
        panel = panels[first * length :].ctypes.data
        if filled - first >= WIDE:
            _add_wide(x, places_N, panel, nothing_P, out_NP, out_NP, first, length)
        else:
            _add_narrow(x, places_N, panel, nothing_P, out_NP, out_NP, first, length)
    for o in range(filled, outputs):
        weight_I = panels[o * length : (o + 1) * length]
        for n in range(count):
            total = ZERO
            for i in range(length):
                total += weight_I[i] * x_NI[n, i]
            out_NP[n, o] += total
    return len(places_N)  # a use, until which they stay where they are


@compiled
def weighted_sums(
    weights_RS: Any, places_R: Any, x_SE: Any, count: int, nothing: Any, y_RE: Any
) -> None:
    """Of the first `count` rows of `x_SE`, which is in order, their sums with the weights of each
    of R rows, a multiple of FEW; `places_R`: where these begin, in bytes; `nothing`: E zeros.

    (An array made here would be gone before the tiles read it: Numba sees no use in an address.)"""
    rows, width = y_RE.shape
    whole = width - width % LANES if count else 0
    apart = 4 * width
    x, none, places = weights_RS.ctypes.data, nothing.ctypes.data, places_R.ctypes.data
    for r in range(0, rows, FEW):
        out, begin = y_RE[r].ctypes.data, places + 8 * r
        for first in range(0, whole, WIDE):
            part, made = x_SE[0, first:].ctypes.data, out + 4 * first
            if whole - first >= WIDE:
                few_of_two(x, begin, part, none, none, made, count, apart, 4, apart, 0)
            else:
                few_of_one(x, begin, part, none, none, made, count, apart, 4, apart, 0)
        for row in range(r, r + FEW):
            y_RE[row, whole:] = ZERO
            for s in range(count if whole < width else 0):
                for e in range(whole, width):
                    y_RE[row, e] += weights_RS[row, s] * x_SE[s, e]


@compiled
def products(
    x_X: Any,
    places_N: Any,
    panels: Any,
    bias_P: Any,
    more_MP: Any,
    out_NP: Any,
    begin: int,
    end: int,
) -> None:
    """Write to each row of `out_NP` the bias, a row more, and the product with the matrix of the
    row of numbers that begins at its place, counted in bytes from the beginning of `x_X`; columns
    from `begin`, which begins a panel, to `end`. `more_MP` is one row for all or one for each, and
    may be `out_NP`."""
    filled = out_NP.shape[1]
    length, x = len(panels) // filled, x_X.ctypes.data
    for first in range(begin if len(out_NP) else end, end, WIDE):
        panel = panels[first * length :].ctypes.data
        add = (x, places_N, panel, bias_P, more_MP, out_NP, first, length)
        if filled - first >= WIDE:
            _add_wide(*add)
        else:
            _add_narrow(*add)


def threaded_products(
    x_X: np.ndarray,
    places_N: np.ndarray,
    panels: np.ndarray,
    bias_P: np.ndarray,
    more_MP: np.ndarray,
    out_NP: np.ndarray,
    threads: int,
) -> None:
    """`products` on up to so many threads: of some rows each, or of some panels where the rows are
    few."""
    count, filled = out_NP.shape
    threads = min(threads, 1 + count * len(panels) // WORTH)
    if threads == 1:
        products(x_X, places_N, panels, bias_P, more_MP, out_NP, 0, filled)
        return
    by_rows = count >= 8 * ROWS * threads
    size, unit = (count, ROWS) if by_rows else (filled, WIDE)
    cuts = [size * number // threads // unit * unit for number in range(threads)] + [size]
    jobs = []
    for a, b in pairwise(cuts):
        rows, columns = (slice(a, b), (0, filled)) if by_rows else (slice(None), (a, b))
        more = more_MP[rows] if len(more_MP) > 1 else more_MP
        jobs.append(
            partial(products, x_X, places_N[rows], panels, bias_P, more, out_NP[rows], *columns)
        )
    side_by_side(jobs)


def _prepare() -> None:
    """Compile, before a clock runs or a batch has begun."""
    x, place, row = np.zeros(1, np.float32), np.zeros(1, np.int64), np.zeros(WIDE, np.float32)
    with first_call(products):
        add_few(x[None], row, row, row[None].copy())
        products(x, place, row, row, row[None], row[None].copy(), 0, WIDE)
        few_11 = np.zeros((FEW, 1), np.float32)
        weighted_sums(few_11, np.zeros(FEW, np.int64), x[None], 1, x, few_11.copy())


_prepare()
