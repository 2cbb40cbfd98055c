"""What the processor is good at, where PyTorch's own choice is not enough to go by."""

from __future__ import annotations

import functools
import time

import torch

PAYS = 2.0  # times as fast as float32: then screening codes in bfloat16 is faster in all


def rounded_products_are_fast(device: torch.device) -> bool:
    """Whether bfloat16 products outrun float32's so far that screening with them pays."""
    if device.type != "cpu" or not torch.backends.mkldnn.enabled:
        return False
    return _has("amx_tile") or (_has("avx512_bf16") and _ratio() > PAYS)


def _has(instructions: str) -> bool:
    return bool(getattr(torch.cpu, f"_is_{instructions}_supported", bool)())


@functools.cache
def _ratio() -> float:
    """How much faster a product is in bfloat16: without tiles, processors that have the same
    instructions differ tenfold. Some milliseconds, once; codes are the same either way."""
    seconds = []
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.ones(4_096, 136, dtype=dtype), torch.ones(512, 136, dtype=dtype).T
        times = []
        for _ in range(5):
            started = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - started)
        seconds.append(min(times))
    return seconds[0] / seconds[1]
