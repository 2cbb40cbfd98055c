"""What the processor is good at, where PyTorch's own choice is not enough to go by."""

from __future__ import annotations

import torch


def rounded_products_are_fast(device: torch.device) -> bool:
    """Whether bfloat16 products outrun float32's so far that screening with them pays: by tiles.
    Without these, processors that have the instructions differ tenfold."""
    return _has("amx_tile") and _is_open(device)


def byte_products_are_fast(device: torch.device) -> bool:
    """The same of products of bytes, of which an instruction adds four times as many as of float32
    numbers."""
    if not (_has("vnni") and _is_open(device)):
        return False
    from quintet.compiled.byte_products import HAS_INSTRUCTION  # Numba may be told not to use it

    return HAS_INSTRUCTION


def _is_open(device: torch.device) -> bool:
    return device.type == "cpu" and bool(torch.backends.mkldnn.enabled)


def _has(instructions: str) -> bool:
    return bool(getattr(torch.cpu, f"_is_{instructions}_supported", bool)())
