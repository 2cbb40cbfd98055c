"""The nearest-code search: microseconds a vector and memory, beside torch.cdist and the naive form.

All take turns in one process, on one thread. The peer is `torch.cdist` and `argmin` with its
defaults. Both peers go through the vectors in slices where their N x K matrix (cdist) or their
N x K x D differences (naive) would not fit, as a user would have to: `PEER_BYTES` a slice. The
naive form is timed on at most `NAIVE_VECTORS`, and the peers on at most `PEER_VECTORS` of the
largest batch: their time a vector does not depend on how many slices there are.

Memory is what the call, and making ours ready, adds to the peak of the process's resident memory:
measured in a child process of its own for ours and for cdist at each size, after a search of one
vector has warmed it up. The naive form's is its slice.

    quintet bench search
"""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import get_context

import torch
from torch import Tensor

from benchmarks import Row, row
from benchmarks.memory import peak_kilobytes, reset_peak
from quintet.tokenizers.search import CodeIndex

CODES = 65_536
SIZES = ((128, 1), (128, 19), (128, 75), (128, 16_384), (8, 75))  # dimensions, vectors
ROUNDS = 7
PEER_BYTES = 2**29
PEER_VECTORS = 2_048
NAIVE_VECTORS = 4


@torch.no_grad()
def run(model: str = "") -> list[Row]:
    """Microseconds a vector and megabytes; less is better. `model` is not used."""
    torch.set_num_threads(1)
    rows = []
    for width, count in SIZES:
        codes, vectors = trained_like(width, count, CODES)
        forms = _forms(codes)
        micros = _times(forms, vectors)
        name = f"{count:,} x {width}"
        rows.append(row(f"{name}, ours", "us / vector", micros["ours"], micros["cdist"]))
        rows.append(row(f"{name}, naive", "us / vector", micros["naive"], micros["cdist"]))
        extra = {form: _memory(form, width, count) for form in ("ours", "cdist")}
        rows.append(row(f"{name}, ours, memory", "MB", extra["ours"], extra["cdist"]))
    return rows


def trained_like(width: int, count: int, codes: int) -> tuple[Tensor, Tensor]:
    """Codes [K, D] and vectors [N, D] of one kind, as training leaves them: 12 dimensions bent
    into D, and a little noise."""
    torch.manual_seed(0)
    hidden = torch.randn(codes + count, 12)
    bent = torch.tanh(hidden @ torch.randn(12, 64) / 2) @ torch.randn(64, width) / 8
    both = bent + 0.03 * torch.randn(codes + count, width)
    return both[:codes].clone(), both[codes:].clone()


def _forms(codes: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    return {
        "ours": CodeIndex(codes).nearest,
        "cdist": lambda vectors: _sliced(
            lambda part: torch.cdist(part, codes).argmin(1), vectors, 4 * len(codes)
        ),
        "naive": lambda vectors: _sliced(
            lambda part: (part[:, None] - codes).square().sum(2).argmin(1),
            vectors,
            4 * codes.numel(),
        ),
    }


def _sliced(search: Callable[[Tensor], Tensor], vectors: Tensor, bytes_each: int) -> Tensor:
    return torch.cat([search(part) for part in vectors.split(max(1, PEER_BYTES // bytes_each))])


def _some(form: str, vectors: Tensor) -> Tensor:
    """The vectors that a form is timed on."""
    return vectors[: {"ours": len(vectors), "cdist": PEER_VECTORS, "naive": NAIVE_VECTORS}[form]]


def _times(forms: dict[str, Callable[[Tensor], Tensor]], vectors: Tensor) -> dict[str, float]:
    """Median microseconds a vector, the forms taking turns, so that a busy moment hits all."""
    taken: dict[str, list[float]] = {form: [] for form in forms}
    for turn in range(ROUNDS + 1):
        for form, search in forms.items():
            some = _some(form, vectors)
            started = time.perf_counter()
            search(some)
            if turn:  # the first round warms up
                taken[form].append((time.perf_counter() - started) / len(some))
    return {form: 1e6 * sorted(times)[len(times) // 2] for form, times in taken.items()}


def _memory(form: str, width: int, count: int) -> float:
    """Megabytes that a search adds to the peak of a process; with ours, its index too."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_added, (form, width, count, CODES))


@torch.no_grad()
def _added(form: str, width: int, count: int, codes_count: int) -> float:
    torch.set_num_threads(1)
    codes, vectors = trained_like(width, count, codes_count)
    some = _some(form, vectors)
    _forms(codes[:64])[form](vectors[:1])
    reset_peak()
    before = peak_kilobytes()
    _forms(codes)[form](some)
    return max(0, peak_kilobytes() - before) / 1024
