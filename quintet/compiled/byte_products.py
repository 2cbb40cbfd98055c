"""Products of bytes, four of them added by one instruction where the processor has it (AVX-512
VNNI, `vpdpbusd`), by plain loops elsewhere.

Numba writes no such instruction by itself, so here it is told which; PyTorch's own product of
bytes writes every sum to memory, where a search wants the largest of each group alone.

Codes are packed in groups, [E / 4, GROUP, 4]: the next four bytes of all codes of a group lie side
by side. They are stored with 128 added, as the instruction wants one factor without a sign; what
that adds to every sum is taken off by where a sum starts. Sums are exact.

Shapes: K codes in G groups of GROUP, N vectors, E bytes of each (a multiple of 4), X = GROUP * E.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from quintet.compiled import compiled, first_call
from quintet.compiled.instructions import INT, Loop, has, told

GROUP = 32  # codes, as many as two registers hold
LANES = GROUP // 2
TOGETHER = 10  # vectors; with two sums of each, 20 of the processor's 32 registers
SIGN = 128
INTS = ir.VectorType(INT, LANES)
HAS_INSTRUCTION = has("avx512vnni")


def pack(bytes_KE: np.ndarray) -> np.ndarray:
    """Codes int8 [K, E] as uint8 [G, X]; the last one fills up the last group."""
    size, width = bytes_KE.shape
    assert width % 4 == 0, "bytes come in fours"
    bytes_KE = np.concatenate([bytes_KE, np.repeat(bytes_KE[-1:], -size % GROUP, axis=0)])
    packed = bytes_KE.reshape(-1, GROUP, width // 4, 4).transpose(0, 2, 1, 3).astype(np.int16)
    return (packed + SIGN).astype(np.uint8).reshape(len(packed), GROUP * width)


def _sums(loop: Loop, args: tuple[Any, ...], vectors: int) -> list[Any]:
    """Of each of so many vectors with the first half of a group's codes, and of each with the
    second, over all fours of bytes; at addresses: codes, vectors, where their sums start."""
    *addresses, fours = args
    builder, (codes, rows, starts) = loop.builder, map(loop.pointer, addresses)

    def count(value: int) -> Any:
        return ir.Constant(fours.type, value)

    def add(four: Any, totals: list[Any]) -> list[Any]:
        place = builder.mul(four, count(4 * GROUP))
        halves = [
            loop.load(codes, builder.add(place, count(skip)), INTS) for skip in (0, 4 * LANES)
        ]
        values = []
        for v in range(vectors):
            row = builder.mul(fours, count(4 * v))
            values.append(
                loop.spread(loop.load(rows, builder.add(row, builder.mul(four, count(4))), INT))
            )
        pairs = [(half, value) for half in halves for value in values]
        return [
            builder.call(add_fours, [total, half, value])
            for (half, value), total in zip(pairs, totals, strict=True)
        ]

    kind = ir.FunctionType(INTS, [INTS, INTS, INTS])
    add_fours = cgutils.get_or_insert_function(
        builder.module, kind, "llvm.x86.avx512.vpdpbusd.512"
    )  # fmt: skip
    begin = [loop.spread(loop.load(starts, count(4 * v), INT)) for v in range(vectors)]
    return loop.sums(fours, begin * 2, add)


def _by_instruction(vectors: int, write: Callable[[Loop, list[Any], Any], None]) -> Any:
    """What `write` makes of the sums of so many vectors, at an address."""

    @told
    def of_group(typing: Any, codes: Any, rows: Any, starts: Any, fours: Any, out: Any) -> Any:
        def make(context: Any, builder: Any, signature: Any, args: tuple[Any, ...]) -> Any:
            loop = Loop(builder, LANES)
            write(loop, _sums(loop, args[:-1], vectors), args[-1])
            return context.get_dummy_value()

        return types.void(*[types.intp] * 5), make

    return of_group


def _write_largest(loop: Loop, sums: list[Any], out: Any) -> None:
    builder, place = loop.builder, loop.pointer(out)
    largest = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(INT, [INTS]), f"llvm.vector.reduce.smax.v{LANES}i32"
    )
    for v, (one, two) in enumerate(zip(sums[:TOGETHER], sums[TOGETHER:], strict=True)):
        most = builder.select(builder.icmp_signed(">", one, two), one, two)
        loop.store(builder.call(largest, [most]), place, ir.Constant(out.type, 4 * v))


def _write_all(loop: Loop, sums: list[Any], out: Any) -> None:
    for half, made in enumerate(sums):
        loop.store(made, loop.pointer(out), ir.Constant(out.type, 4 * LANES * half))


_largest_by_instruction = _by_instruction(TOGETHER, _write_largest)
_all_by_instruction = _by_instruction(1, _write_all)


@compiled
def _all_by_loops(codes_X: Any, row_E: Any, start_1: Any, out_S: Any) -> None:
    out_S[:] = start_1[0]
    for four in range(len(row_E) // 4):
        first = 4 * GROUP * four
        for s in range(GROUP):
            for byte in range(4):
                code = np.int32(codes_X[first + 4 * s + byte])
                out_S[s] += code * np.int32(row_E[4 * four + byte])


if HAS_INSTRUCTION:

    @compiled
    def products(codes_X: Any, row_E: Any, start_1: Any, out_S: Any) -> None:
        """Of one vector with the codes of one group, int32 [GROUP]. They start at the first number
        of `start_1`, int32: `start_of` the vector."""
        of_codes, of_row = codes_X.ctypes.data, row_E.ctypes.data
        starts, out = start_1.ctypes.data, out_S.ctypes.data
        _all_by_instruction(of_codes, of_row, starts, len(row_E) // 4, out)

    @compiled
    def largest(codes_GX: Any, rows_NE: Any, starts_N: Any, most_GN: Any) -> None:
        """The largest product of each vector with a code of each group, int32 [G, N]. N is a
        multiple of TOGETHER."""
        count, width = rows_NE.shape
        for g in range(len(codes_GX)):
            for n in range(0, count, TOGETHER):
                codes, rows = codes_GX[g].ctypes.data, rows_NE[n].ctypes.data
                starts, out = starts_N[n:].ctypes.data, most_GN[g, n:].ctypes.data
                _largest_by_instruction(codes, rows, starts, width // 4, out)

else:
    products = _all_by_loops

    @compiled
    def largest(codes_GX: Any, rows_NE: Any, starts_N: Any, most_GN: Any) -> None:
        """The largest product of each vector with a code of each group, int32 [G, N]."""
        out_S = np.empty(GROUP, np.int32)
        for g in range(len(codes_GX)):
            for n in range(len(rows_NE)):
                products(codes_GX[g], rows_NE[n], starts_N[n:], out_S)
                most_GN[g, n] = out_S.max()


@compiled
def start_of(row_E: Any) -> int:
    """What a vector's sums start at, so that 128 more in every byte of the codes adds nothing."""
    total = 0
    for e in range(len(row_E)):
        total += int(row_E[e])
    return -SIGN * total


def _prepare() -> None:
    """Compile, before a clock runs."""
    codes_GX, rows_NE = np.zeros((1, 4 * GROUP), np.uint8), np.zeros((TOGETHER, 4), np.int8)
    starts_N, most_GN = np.zeros(TOGETHER, np.int32), np.zeros((1, TOGETHER), np.int32)
    with first_call(largest):
        largest(codes_GX, rows_NE, starts_N, most_GN)
        products(codes_GX[0], rows_NE[0], starts_N, np.zeros(GROUP, np.int32))


_prepare()
