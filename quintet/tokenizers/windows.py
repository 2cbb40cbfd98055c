"""Convolutions as products of overlapping rows: channels lie side by side, so that what a kernel
sees is one row of memory.

Shapes: B batch, T time, C channels, K kernel's length, O outputs, P outputs filled up.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from quintet.compiled.panels import fill_up, filled_up, pack, threaded_products
from quintet.kept import Kept


class PackedMatrix(Kept):
    """A matrix in panels, and a bias, made of `sources`, ready for products."""

    def __init__(self, matrix_IO: Tensor, bias_O: Tensor, *sources: Tensor) -> None:
        super().__init__(*sources)
        self.inputs, self.outputs = matrix_IO.shape
        self.panels = pack(matrix_IO.detach().numpy())
        self.bias_P = fill_up(bias_O.detach().numpy())
        self.nothing_1P = np.zeros_like(self.bias_P)[None]


@lru_cache(maxsize=256)
def _places(batch: int, outputs: int, apart: int, stride: int) -> np.ndarray:
    """Where windows begin, in bytes, int64 [N]: so many of each stream, `stride` numbers apart. Not
    to be written to, which Numba would compile anew for."""
    first_B1 = apart * np.arange(batch, dtype=np.int64)[:, None]
    places_N = 4 * (first_B1 + stride * np.arange(outputs)).reshape(-1)
    return places_N


def products_of_windows(
    x_BTC: Tensor,
    packed: PackedMatrix,
    outputs: int,
    stride: int = 1,
    more_BTO: Tensor | None = None,
) -> Tensor:
    """So many windows of each stream, K C numbers each, `stride` samples apart, times a matrix, and
    `more_BTO`: float32 [B, outputs, O]."""
    x_BTC = x_BTC.contiguous()
    batch, time, channels = x_BTC.shape
    assert x_BTC.dtype == torch.float32, "compiled for float32"
    needed = (outputs - 1) * stride * channels + packed.inputs
    assert needed <= time * channels, "the last window ends within its stream"
    places_N = _places(batch, outputs, time * channels, stride * channels)
    out_NP = torch.empty(batch * outputs, filled_up(packed.outputs))
    more_MP = packed.nothing_1P
    if more_BTO is not None:
        more_NO = more_BTO.reshape(len(out_NP), packed.outputs)
        if packed.outputs < out_NP.shape[1]:
            more_NO = F.pad(more_NO, (0, out_NP.shape[1] - packed.outputs))
        more_MP = more_NO.contiguous().numpy()
    threaded_products(
        x_BTC.view(-1).numpy(), places_N, packed.panels, packed.bias_P, more_MP, out_NP.numpy(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out_NP[:, : packed.outputs].contiguous().view(batch, outputs, packed.outputs)
