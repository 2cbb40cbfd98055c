"""What the processor is good at, where PyTorch's own choice is not enough to go by."""

from __future__ import annotations

import functools
import time

import torch

PAYS = 2.0  # times as fast as float32: then screening codes in bfloat16 is faster in all


def rounded_products_are_fast(device: torch.device) -> bool:
    """Whether bfloat16 products outrun float32's so far that screening with them pays."""
    return _has("amx_tile") and _is_open(device)


def byte_products_are_fast(device: torch.device) -> bool:
    """The same of products of bytes. Where bfloat16 has tiles, these have not been measured."""
    return _has("vnni") and not _has("amx_tile") and _is_open(device) and _ratio() > PAYS


def _is_open(device: torch.device) -> bool:
    return device.type == "cpu" and bool(torch.backends.mkldnn.enabled)


def _has(instructions: str) -> bool:
    return bool(getattr(torch.cpu, f"_is_{instructions}_supported", bool)())


@functools.cache
def _ratio() -> float:
    """How much faster a product is in bytes: processors that have the same instructions differ
    tenfold. Some milliseconds, once; codes are the same either way."""
    left, right = torch.ones(4_096, 128), torch.ones(32, 128).T
    seconds = []
    for multiply, dtype in ((torch.mm, torch.float32), (torch._int_mm, torch.int8)):
        one, other, times = left.to(dtype), right.to(dtype), []
        for _ in range(5):
            started = time.perf_counter()
            multiply(one, other)
            times.append(time.perf_counter() - started)
        seconds.append(min(times))
    return seconds[0] / seconds[1]
