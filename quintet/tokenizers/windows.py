"""Convolutions as products of overlapping rows: channels lie side by side, so that what a kernel
sees is one row of memory.

Shapes: B batch, T time, C channels, K kernel's length, O outputs, P outputs filled up.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from quintet.compiled.panels import pack, padded, threaded_products
from quintet.kept import Kept


class PackedMatrix(Kept):
    """A matrix in panels, and a bias, made of `sources`, ready for products."""

    def __init__(self, matrix_IO: Tensor, bias_O: Tensor, *sources: Tensor) -> None:
        super().__init__(*sources)
        self.inputs, self.outputs = matrix_IO.shape
        self.panels = pack(matrix_IO.detach().numpy())
        self.bias_P = padded(bias_O.detach().numpy())
        self.nothing_1P = np.zeros_like(self.bias_P)[None]


@lru_cache(maxsize=256)
def _places(batch: int, outputs: int, apart: int, stride: int) -> np.ndarray:
    """Where windows begin, in bytes, int64 [N]: so many of each stream, `stride` numbers apart. Not
    to be written to, which Numba would compile anew for."""
    first_B1 = apart * np.arange(batch, dtype=np.int64)[:, None]
    places_N = 4 * (first_B1 + stride * np.arange(outputs)).reshape(-1)
    return places_N


def products_of_windows(
    x_BCT: Tensor,
    packed: PackedMatrix,
    outputs: int,
    stride: int = 1,
    more_BOT: Tensor | None = None,
) -> Tensor:
    """So many windows of each stream, K C numbers each, `stride` samples apart, times a matrix, and
    `more_BOT`: float32 [B, O, outputs], channels side by side."""
    x_BTC = _side_by_side(x_BCT)
    batch, time, channels = x_BTC.shape
    needed = (outputs - 1) * stride * channels + packed.inputs
    if x_BTC.dtype != np.float32 or packed.inputs % channels or needed > time * channels:
        raise ValueError(f"Sound of {list(x_BCT.shape)}, {x_BCT.dtype}, does not fit the layer.")
    places_N = _places(batch, outputs, time * channels, stride * channels)
    out_NP = np.empty((batch * outputs, len(packed.bias_P)), np.float32)
    more_MP = packed.nothing_1P
    if more_BOT is not None:
        more_MP = _side_by_side(more_BOT).reshape(len(out_NP), packed.outputs)
        if packed.outputs < out_NP.shape[1]:
            more_MP = np.pad(more_MP, ((0, 0), (0, out_NP.shape[1] - packed.outputs)))
    threaded_products(
        x_BTC.reshape(-1), places_N, packed.panels, packed.bias_P, more_MP, out_NP,
        torch.get_num_threads(),
    )  # fmt: skip
    if packed.outputs < out_NP.shape[1]:
        out_NP = np.ascontiguousarray(out_NP[:, : packed.outputs])
    return torch.from_numpy(out_NP.reshape(batch, outputs, packed.outputs)).mT


def _side_by_side(x_BCT: Tensor) -> np.ndarray:
    """[B, T, C] in order; a copy only where channels lie otherwise."""
    return np.ascontiguousarray(x_BCT.detach().numpy().swapaxes(1, 2))
