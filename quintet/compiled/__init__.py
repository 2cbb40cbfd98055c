"""What is compiled for the processor at hand, once, and kept: by Numba, products of few rows, RMS
norm and exp; and, instruction by instruction, products of many.

For loops whose steps follow one another, each too short to be worth a call of PyTorch. Each row is
computed by itself: who else is there changes no digit of it. No index is checked here.

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numba
import numpy as np

from quintet.compiled.instructions import float_of_bits
from quintet.config import UserError

UNSEEN = np.float32(-1e30)  # whose exp is 0
LEAST = np.float32(-87)  # exp of less is no normal number
PER_LOG2, HALF, ONE, ZERO = (np.float32(x) for x in (1.4426950408889634, 0.5, 1, 0))
# 2**x for -0.5 <= x <= 0.5, highest power first: Taylor's series, to 2e-7.
POWERS = tuple(
    np.float32(np.log(2) ** n / np.prod(np.arange(1.0, n + 1))) for n in range(6, -1, -1)
)
# Sums may be taken in another order. Nothing is said of NaN and infinity: they stay what they are.
MATHS = {"reassoc", "contract", "nsz", "arcp", "afn"}
EPSILON = np.finfo(np.float32).eps  # as PyTorch's rms_norm adds it
FILES = sorted(Path(__file__).parent.glob("*.py"))  # of what other files inline
DIGEST = hashlib.sha256(b"".join(file.read_bytes() for file in FILES)).hexdigest()


def compiled(function: Callable[..., Any]) -> Any:
    """Where no folder can be written to, each process compiles anew, some seconds."""
    return _compiled(function, MATHS)


def compiled_in_order(function: Callable[..., Any]) -> Any:
    """The same; and sums are taken in the order that is written, digit by digit."""
    return _compiled(function, False)


def _compiled(function: Callable[..., Any], maths: set[str] | bool) -> Any:
    # Nothing is called, all is inlined: else what is compiled now and what was kept would call
    # different copies, whose sums differ in the last digit.
    options: dict[str, Any] = {
        "nogil": True, "fastmath": maths, "error_model": "numpy", "forceinline": True,
    }  # fmt: skip
    try:
        made: Any = numba.njit(function, cache=True, **options)
    except RuntimeError:
        return numba.njit(function, **options)
    # Numba takes what it kept for up to date as long as the function's own file is. What other
    # files inline from this folder must follow it, too; it has no open way to say so.
    kept: Any = getattr(getattr(made, "_cache", None), "_cache_file", None)
    # Another Numba, which rather compiles anew than from what is out of date; or none at all, where
    # NUMBA_DISABLE_JIT is set.
    if not hasattr(kept, "_source_stamp"):
        return numba.njit(function, **options)
    kept._source_stamp = (kept._source_stamp, DIGEST)
    return made


@contextmanager
def first_call(function: Any) -> Iterator[None]:
    """Around the first call of a compiled function, which compiles it, some seconds where this
    processor has never done so, or reads what was kept.

    Raises:
        UserError: that cannot be kept, or read.
    """
    try:
        yield
    except (OSError, EOFError, UnpicklingError) as error:
        raise UserError(
            f"What is compiled cannot be kept or read in {function.stats.cache_path} ({error}); "
            "make room, delete it, or name another folder in NUMBA_CACHE_DIR."
        ) from error


@compiled
def _add_four(y_O: Any, o: int, a: Any, b: Any, c: Any, d: Any) -> None:
    y_O[o] += a
    y_O[o + 1] += b
    y_O[o + 2] += c
    y_O[o + 3] += d


@compiled
def multiply(x_NI: Any, weight_OI: Any, y_NO: Any) -> None:
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


@compiled
def rms_norm(x_I: Any, weight_I: Any, y_I: Any) -> None:
    """RMS norm of one row or head; `y` may be `x`."""
    total = ZERO
    for i in range(len(x_I)):
        total += x_I[i] * x_I[i]
    scale = ONE / np.sqrt(total / np.float32(len(x_I)) + EPSILON)
    for i in range(len(x_I)):
        y_I[i] = x_I[i] * scale * weight_I[i]


@compiled
def exp(x: Any) -> Any:
    """Of a number up to 87; zero of what is unseen."""
    exponent = (LEAST if x < LEAST else x) * PER_LOG2
    whole = np.floor(exponent + HALF)
    rest = exponent - whole
    power = POWERS[0] * rest + POWERS[1]
    power = power * rest + POWERS[2]
    power = power * rest + POWERS[3]
    power = power * rest + POWERS[4]
    power = power * rest + POWERS[5]
    power = power * rest + POWERS[6]
    made = power * float_of_bits(np.int32((np.int32(whole) + 127) << 23))
    return ZERO if x <= UNSEEN else made
