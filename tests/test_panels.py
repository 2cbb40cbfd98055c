"""Products in panels, and of bytes, equal their definitions; what lies beside a row changes no
digit of it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from quintet.compiled import byte_products, panels

SIZES = [1, 7, 16, 24, 33, 130, 300]
PROGRAM = """
import numpy as np
from quintet.compiled import byte_products, panels

rng = np.random.default_rng(0)
print(panels.LANES, byte_products.HAS_INSTRUCTION)
for outputs in (1, 7, 24, 50):
    matrix_IO = rng.standard_normal((11, outputs), dtype=np.float32)
    x_NI = rng.standard_normal((13, 11), dtype=np.float32)
    out_NP = np.empty((13, panels.padded_width(outputs)), np.float32)
    places_N, bias_P = 44 * np.arange(13), panels.padded(np.zeros(outputs))
    given = (panels.pack(matrix_IO), bias_P, bias_P[None], out_NP, 0, out_NP.shape[1])
    panels.products(x_NI.reshape(-1), places_N, *given)
    assert np.allclose(out_NP[:, :outputs], x_NI @ matrix_IO, atol=1e-4)
codes_KE = rng.integers(-127, 128, (40, 8), dtype=np.int8)
rows_NE = rng.integers(-127, 128, (10, 8), dtype=np.int8)
starts_N = np.array([byte_products.start_of(row) for row in rows_NE], np.int32)
most_GN = np.empty((2, 10), np.int32)
byte_products.largest(byte_products.pack(codes_KE), rows_NE, starts_N, most_GN)
sums_KN = codes_KE.astype(int) @ rows_NE.T.astype(int)
assert (most_GN == [sums_KN[:32].max(0), sums_KN[32:].max(0)]).all()
"""


def _products(x_NI: np.ndarray, matrix_IO: np.ndarray, bias_O: np.ndarray) -> np.ndarray:
    (count, inputs), outputs = x_NI.shape, matrix_IO.shape[1]
    out_NP = np.full((count, panels.padded_width(outputs)), np.nan, np.float32)
    bias_P = panels.padded(bias_O)
    panels.products(
        x_NI.reshape(-1), 4 * inputs * np.arange(count), panels.pack(matrix_IO), bias_P,
        np.zeros_like(bias_P)[None], out_NP, 0, out_NP.shape[1],
    )  # fmt: skip
    return out_NP[:, :outputs]


@pytest.mark.parametrize("outputs", SIZES)
@pytest.mark.parametrize("count", [0, 1, 3, 4, 9, 10, 27])
def test_products_equal_numpys(count: int, outputs: int) -> None:
    rng = np.random.default_rng(outputs)
    x_NI, matrix_IO = rng.standard_normal((count, 37)), rng.standard_normal((37, outputs))
    bias_O = rng.standard_normal(outputs)
    given = (np.float32(x_NI), np.float32(matrix_IO), np.float32(bias_O))
    np.testing.assert_allclose(_products(*given), x_NI @ matrix_IO + bias_O, atol=1e-4)


def test_a_row_is_the_same_whoever_is_beside_it() -> None:
    rng = np.random.default_rng(0)
    x_NI = rng.standard_normal((27, 300), dtype=np.float32)
    matrix_IO = rng.standard_normal((300, 72), dtype=np.float32)
    bias_O = rng.standard_normal(72, dtype=np.float32)
    whole_NO = _products(x_NI, matrix_IO, bias_O)
    for size in (1, 2, 5, 11):
        parts = [_products(x_NI[n : n + size], matrix_IO, bias_O) for n in range(0, 27, size)]
        assert (np.concatenate(parts) == whole_NO).all()


@pytest.mark.parametrize(("count", "inputs"), [(2_000, 300), (19, 4_096)])
def test_threads_share_rows_or_panels(count: int, inputs: int) -> None:
    """Windows that overlap, and rows that are added."""
    rng = np.random.default_rng(0)
    outputs, apart = 8 * panels.WIDE + panels.NARROW, 5
    x_X = rng.standard_normal((count - 1) * apart + inputs, dtype=np.float32)
    matrix_IO = rng.standard_normal((inputs, outputs), dtype=np.float32) / 64
    more_NP = rng.standard_normal((count, outputs), dtype=np.float32)
    bias_P, places_N = panels.padded(np.ones(outputs)), 4 * apart * np.arange(count)
    made = []
    for threads in (1, 3):
        out_NP = np.full((count, outputs), np.nan, np.float32)
        matrix = panels.pack(matrix_IO)
        given = (x_X, places_N, matrix, bias_P, more_NP, out_NP, threads)
        panels.threaded_products(*given)
        made.append(out_NP)
    windows_NI = np.lib.stride_tricks.sliding_window_view(x_X, inputs)[::apart]
    np.testing.assert_allclose(made[0], 1 + more_NP + windows_NI @ matrix_IO, atol=1e-3)
    assert (made[0] == made[1]).all()


@pytest.mark.parametrize("outputs", [panels.WIDEST + panels.WIDE + panels.NARROW + 5, 3])
def test_few_rows_are_added_in_wide_panels(outputs: int) -> None:
    rng = np.random.default_rng(0)
    x_NI = rng.standard_normal((7, 50), dtype=np.float32)
    weight_OI = rng.standard_normal((outputs, 50), dtype=np.float32)
    packed, nothing_P = panels.pack_for_few(weight_OI), np.zeros(outputs, np.float32)
    for count in (0, 1, 3, 4, 6, 7):
        made = []
        for backwards in (False, True):
            out_NO = np.ones((count, outputs), np.float32)
            panels.add_few(x_NI[:count], packed, nothing_P, out_NO, backwards)
            made.append(out_NO)
        np.testing.assert_allclose(made[0], 1 + x_NI[:count] @ weight_OI.T, atol=1e-4)
        assert (made[0] == made[1]).all()
        if count == 1:
            alone_1O = made[0]
    assert (made[0][:1] == alone_1O).all()


@pytest.mark.parametrize("width", [panels.WIDE + panels.NARROW + 3, panels.NARROW, 2])
def test_sums_of_rows_with_weights(width: int) -> None:
    rng = np.random.default_rng(0)
    weights_RS = rng.standard_normal((2 * panels.FEW, 9), dtype=np.float32)
    x_SE = rng.standard_normal((9, width), dtype=np.float32)
    places_R, nothing = 36 * np.arange(len(weights_RS)), np.zeros(width, np.float32)
    for count in (0, 1, 7, 9):
        y_RE = np.full((len(weights_RS), width), np.nan, np.float32)
        panels.weighted_sums(weights_RS, places_R, x_SE, count, nothing, y_RE)
        if count:
            expected = weights_RS[:, :count] @ x_SE[:count]
            np.testing.assert_allclose(y_RE, expected, atol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="its allocator")
def test_nothing_is_read_after_it_was_given_back() -> None:
    """Memory that is given back is overwritten at once."""
    tunables = "glibc.malloc.tcache_count=0:glibc.malloc.perturb=165"
    environment = os.environ | {"GLIBC_TUNABLES": tunables}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "addopts=",
        __file__,
        "-k",
        "few or sums or bytes",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]


def test_bytes_are_added_exactly() -> None:
    """The largest numbers there are, in groups of which the last is not full."""
    rng = np.random.default_rng(0)
    codes_KE = rng.integers(-127, 128, (100, 132), dtype=np.int8)
    rows_NE = rng.integers(-127, 128, (2 * byte_products.TOGETHER, 132), dtype=np.int8)
    codes_KE[0], codes_KE[1], rows_NE[0], rows_NE[1] = 127, -127, 127, -127
    starts_N = np.array([byte_products.start_of(row) for row in rows_NE], np.int32)
    packed, most_GN = byte_products.pack(codes_KE), np.empty((4, len(rows_NE)), np.int32)
    byte_products.largest(packed, rows_NE, starts_N, most_GN)
    sums_KN = codes_KE.astype(np.int64) @ rows_NE.T.astype(np.int64)
    groups = range(0, 100, byte_products.GROUP)
    assert (most_GN == [sums_KN[k : k + byte_products.GROUP].max(0) for k in groups]).all()
    sums_S = np.empty(byte_products.GROUP, np.int32)
    for products in {byte_products.products, byte_products._all_by_loops}:
        products(packed[1], rows_NE[1], starts_N[1:], sums_S)
        assert (sums_S == sums_KN[32:64, 1]).all()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="of another family of processors")
@pytest.mark.parametrize(("features", "lanes"), [("+avx2,+fma", 8), ("+sse2", 4)])
def test_processors_with_narrower_registers(features: str, lanes: int) -> None:
    """As Numba would compile for them."""
    chosen = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": features}
    command, environment = [sys.executable, "-c", PROGRAM], os.environ | chosen
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(lanes), "False"]
