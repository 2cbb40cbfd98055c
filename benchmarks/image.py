"""The image tokenizer: seconds and memory to encode and decode, and the search of 65,536 codes.

Every case runs in a child process of its own. Memory is what the tokenizer and the call add to
the peak of its resident memory: for pictures from before the tokenizer is made, for the search
from when codes and vectors are there. The reference has random weights, on which neither depends,
and codes where its vectors are; it runs once, being slow.

The search of all the tokens of a reference picture stands beside three peers, each exact up to
rounding: `torch.cdist` and `argmin`, one matrix product with the codes' norms kept (both hold all
16,384 x 65,536 distances), and that product by blocks of codes. All differences at once are not
run: the table says what they would hold.

    quintet bench image
"""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import Row, row
from benchmarks.memory import peak_kilobytes, reset_peak
from benchmarks.search import trained_like
from quintet.config import load_preset
from quintet.tokenizers.image import ImageTokenizer
from quintet.tokenizers.image_folder import load_image_tokenizer
from quintet.tokenizers.search import CodeIndex

BATCHES = (1, 16)  # pictures at once
ROUNDS = 5  # of which the median counts
LARGE = "reference"  # the preset that is timed once
THREADS = (1, 2)  # of it; everything else runs on one
MEMORY_LIMIT = 4_096.0  # MB, of the reference
CODES, VECTORS, WIDTH = 65_536, 16_384, 32  # of the search: the reference's
SEARCH_ROUNDS = 3
SEARCH_MEMORY_LIMIT = 600.0  # MB, of ours
BLOCK = 8_192  # codes, of the peer that goes by blocks
FORMS = ("ours", "by blocks", "cdist", "whole product")

Search = Callable[[Tensor], Tensor]


def run(model: str = "nano") -> list[Row]:
    """Seconds and megabytes; less is better. `model` is an image tokenizer's or a model's."""
    rows: list[Row] = []
    for count in BATCHES:
        rows += _picture_rows(model, count, 1, None)
    for threads in THREADS:
        rows += _picture_rows(LARGE, 1, threads, MEMORY_LIMIT)
    return rows + _search_rows()


def _fresh(function: Callable[..., tuple[float, float]], *arguments: Any) -> tuple[float, float]:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _picture_rows(model: str, count: int, threads: int, limit: float | None) -> list[Row]:
    large = limit is not None
    size = (load_preset(model).image if large else load_image_tokenizer(model).config).size
    rows = []
    for direction in ("encode", "decode"):
        rounds = 1 if large else ROUNDS
        seconds, added = _fresh(_measure, model, large, direction, count, threads, rounds)
        name = f"{model} {direction}s {count} of {size} x {size}, threads: {threads}"
        rows.append(row(name, "s", seconds))
        rows.append(row(f"{name}, memory", "MB", added, limit))
    return rows


@torch.no_grad()
def _measure(
    model: str, large: bool, direction: str, count: int, threads: int, rounds: int
) -> tuple[float, float]:
    """Seconds of a call (the median), megabytes of peak memory above the start."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    reset_peak()
    before = peak_kilobytes()
    tokenizer = _random(model) if large else load_image_tokenizer(model)
    config = tokenizer.config
    job: Search
    if direction == "encode":
        job, given = tokenizer.encode, _pictures(count, config.size)
        job(given[:1, :, : config.patch, : config.patch])  # the first call makes the index too
    else:
        ids = torch.randint(config.codebook_size, (count, config.grid, config.grid))
        job, given = tokenizer.decode, ids
        job(given[:1, :1, :1])
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        job(given)
        taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2], max(0, peak_kilobytes() - before) / 1024


def _pictures(count: int, size: int) -> Tensor:
    """[B, 3, size, size]: smooth colours with a little noise."""
    smooth = F.interpolate(torch.rand(count, 3, 4, 4), size=(size, size), mode="bilinear")
    return (0.9 * smooth + 0.1 * torch.rand(count, 3, size, size)).clamp(0, 1)


def _random(preset: str) -> ImageTokenizer:
    """Random weights, and random codes where the encoder's vectors are, as training puts them:
    among codes far from all vectors, the search would take several times as long."""
    tokenizer = ImageTokenizer(load_preset(preset).image).eval()
    latents_BDRG = tokenizer.latents(_pictures(1, 8 * tokenizer.config.patch))
    vectors_ND = latents_BDRG[0].flatten(1).T
    codebook_KD = tokenizer.quantizer.codebook
    codebook_KD.mul_(vectors_ND.std(0)).add_(vectors_ND.mean(0))
    return tokenizer


def _search_rows() -> list[Row]:
    measured = {
        form: _fresh(_measure_search, form, CODES, VECTORS, WIDTH, SEARCH_ROUNDS)
        for form in FORMS
    }  # fmt: skip
    best = min(seconds for form, (seconds, _) in measured.items() if form != "ours")
    title, rows = f"search {VECTORS:,} x {CODES:,} x {WIDTH}", []
    for form, (seconds, added) in measured.items():
        ours = form == "ours"
        rows.append(row(f"{title}, {form}", "s", seconds, best if ours else None))
        limit = SEARCH_MEMORY_LIMIT if ours else None
        rows.append(row(f"{title}, {form}, memory", "MB", added, limit))
    differences = 4 * VECTORS * CODES * WIDTH / 2**20
    rows.append(row(f"{title}, differences, memory (computed)", "MB", differences))
    return rows


@torch.no_grad()
def _measure_search(
    form: str, codes: int, vectors: int, width: int, rounds: int
) -> tuple[float, float]:
    """Seconds of a search (the median), megabytes that it and making it ready add to the peak."""
    torch.set_num_threads(1)
    codes_KD, vectors_ND = trained_like(width, vectors, codes)
    _search(form, codes_KD[:64])(vectors_ND[:1])
    reset_peak()
    before = peak_kilobytes()
    search, taken = _search(form, codes_KD), []
    for _ in range(rounds):
        started = time.perf_counter()
        search(vectors_ND)
        taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2], max(0, peak_kilobytes() - before) / 1024


def _search(form: str, codes_KD: Tensor) -> Search:
    """The nearest code of each vector [N], of vectors [N, D]."""
    if form == "ours":
        return CodeIndex(codes_KD).nearest
    if form == "cdist":
        return lambda vectors_ND: torch.cdist(vectors_ND, codes_KD).argmin(1)
    half_norms_K = 0.5 * codes_KD.square().sum(1)
    if form == "whole product":
        return lambda vectors_ND: torch.addmm(
            half_norms_K, vectors_ND, codes_KD.T, alpha=-1
        ).argmin(1)
    blocks = list(zip(codes_KD.split(BLOCK), half_norms_K.split(BLOCK), strict=True))
    return lambda vectors_ND: _by_blocks(blocks, vectors_ND)


def _by_blocks(blocks: list[tuple[Tensor, Tensor]], vectors_ND: Tensor) -> Tensor:
    best_N = vectors_ND.new_full((len(vectors_ND),), torch.inf)
    ids_N, start = torch.zeros(len(vectors_ND), dtype=torch.long), 0
    for codes_kD, half_norms_k in blocks:
        scores_Nk = torch.addmm(half_norms_k, vectors_ND, codes_kD.T, alpha=-1)
        lowest_N, found_N = scores_Nk.min(1)
        del scores_Nk  # before the next block is made: one at a time
        nearer_N = lowest_N < best_N
        best_N = torch.where(nearer_N, lowest_N, best_N)
        ids_N = torch.where(nearer_N, found_N + start, ids_N)
        start += len(codes_kD)
    return ids_N
