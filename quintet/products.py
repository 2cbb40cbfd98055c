"""Matrix products in float32 by oneDNN where PyTorch's own choice, MKL, is slow.

MKL is made for one maker's processors and takes twice as long on the others' (docs/log.md,
2026-11-26). Which products take which way depends on the processor and the shapes alone, so that
a run repeats to the last digit on its machine. Elsewhere, on a GPU, in reduced precision or
divided among devices, everything is `torch.nn.functional.linear`.

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LEAST_WORK = 1_200_000  # multiplications; below, MKL is the faster, for a call costs it less
MADE_FOR = "GenuineIntel"


def _vendor() -> str:
    """Of the processor; nothing where the system does not say."""
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return ""
    fields = (line.partition(":") for line in about.splitlines())
    return next((value.strip() for name, _, value in fields if name.strip() == "vendor_id"), "")


# The operator is the one that PyTorch's compiler calls for such products.
PAYS = (
    torch.backends.mkldnn.is_available()
    and torch.backends.mkl.is_available()
    and torch.backends.cpu.get_cpu_capability() == "AVX512"
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and _vendor() not in ("", MADE_FOR)
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[..., I] times [O, I] -> [..., O], as `torch.nn.functional.linear`."""
    if not (PAYS and _suits(x, weight)):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        product: Tensor = _Product.apply(x, weight)
        return product if bias is None else product + bias
    return _product(x, weight, bias)


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        type(weight) in (Tensor, nn.Parameter)  # whole, here, and with numbers
        and weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and _is_dense(weight)
        and x.ndim > 1
        and x.numel() * weight.shape[0] >= LEAST_WORK
        and not torch.is_autocast_enabled("cpu")
    )


def _is_dense(matrix: Tensor) -> bool:
    """Row by row or column by column; oneDNN takes a thousand times longer for anything else."""
    return matrix.is_contiguous() or matrix.t().is_contiguous()


def _product(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    made: Tensor
    if torch.compiler.is_compiling():  # which takes that operator for one of packed weights
        made = _opaque(x, weight_OI)
        return made if bias_O is None else made + bias_O
    if not (x.is_contiguous() or (x.ndim == 2 and _is_dense(x))):
        x = x.contiguous()
    made = torch.ops.mkldnn._linear_pointwise(x, weight_OI, bias_O, "none", [], "")
    return made


@torch.library.custom_op("quintet::product", mutates_args=())
def _opaque(x: Tensor, weight_OI: Tensor) -> Tensor:
    """The same, for a compiler to leave alone."""
    return _product(x, weight_OI)


@_opaque.register_fake
def _(x: Tensor, weight_OI: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight_OI.shape[0])


class _Product(torch.autograd.Function):
    """The operator with its gradients, which are products too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight_OI)
        return _product(x, weight_OI)

    @staticmethod
    @once_differentiable  # the operator has no gradient of its own, and would silently give zeros
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight_OI = ctx.saved_tensors
        gradient_NO, x_NI = gradients[0].flatten(0, -2), x.flatten(0, -2)
        for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            for_x = _product(gradient_NO, weight_OI.t()).view(x.shape)
        if ctx.needs_input_grad[1]:
            for_weight = _for_weight(x_NI, gradient_NO)
        return for_x, for_weight


def _for_weight(x_NI: Tensor, gradient_NO: Tensor) -> Tensor:
    """[O, I]. The operator copies what it is given first; that shall be the narrower of both."""
    if x_NI.shape[1] < gradient_NO.shape[1]:
        gradient_NO = gradient_NO if _is_dense(gradient_NO) else gradient_NO.contiguous()
        return _product(x_NI.t(), gradient_NO.t()).t().contiguous()
    x_NI = x_NI if _is_dense(x_NI) else x_NI.contiguous()
    return _product(gradient_NO.t(), x_NI.t())


class Linear(nn.Linear):
    """A layer of them, with a bias only where asked for."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)
