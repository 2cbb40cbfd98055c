"""Products of a few rows with some of a layer's outputs, where nothing is learned: compiled.

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from quintet.kept import Kept

FEW = 32  # rows: 4,096 outputs take 0.47 ms instead of 0.61; of 128 rows 5.0 instead of 2.7


def suits(x_NI: Tensor, weight_OI: Tensor) -> bool:
    """Whether these may be compiled products: on a CPU, in float32, with weights that count their
    changes."""
    return (
        not torch.is_grad_enabled()
        and x_NI.device.type == weight_OI.device.type == "cpu"
        and x_NI.dtype == weight_OI.dtype == torch.float32
        and x_NI.ndim == 2
        and x_NI.shape[1] == weight_OI.shape[1]
        and len(x_NI) <= FEW
        and type(weight_OI) is torch.nn.Parameter  # whole, here
        and not weight_OI.is_inference()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class FewRows(Kept):
    """Some outputs of a layer, laid out for a few rows.

    Args:
        weight_OI: of the layer.
        places: of the outputs, in order.
    """

    def __init__(self, weight_OI: Tensor, *places: slice) -> None:
        from quintet.compiled.panels import pack_for_few  # Numba, which takes a second to load

        super().__init__(weight_OI)
        rows_OI = np.concatenate([weight_OI.detach().numpy()[some] for some in places])
        self.packed, self.nothing_O = pack_for_few(rows_OI), np.zeros(len(rows_OI), np.float32)

    def __call__(self, x_NI: Tensor) -> Tensor:
        """Products [N, O]."""
        from quintet.compiled.panels import add_few

        if len(self.packed) != x_NI.shape[1] * len(self.nothing_O):
            raise ValueError(f"Rows of {x_NI.shape[1]} numbers do not fit the layer.")
        out_NO = np.zeros((len(x_NI), len(self.nothing_O)), np.float32)
        add_few(x_NI.detach().contiguous().numpy(), self.packed, self.nothing_O, out_NO, False)
        return torch.from_numpy(out_NO)
