"""Decoding: tokens a second, row by row with a key-value cache, beside a Llama.

The peer is the Llama of `transformers` with random weights, the same width, depth, heads,
feed-forward and vocabulary (`benchmarks.train`), as `generate` runs it, greedily. Ours appends to
its cache of slots; its head is asked for words, as outside a picture, or for image codes, as
inside one. Also what a step of a live session costs as the session grows: an hour, faster than
real time, of noise with a word and a picture now and then.

    quintet bench decode
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks import Row, row
from benchmarks.memory import peak_kilobytes
from benchmarks.train import peer
from quintet.config import STEP_SAMPLES, STEPS_PER_SECOND
from quintet.live import Quintet, load
from quintet.model.cache import KVCache
from quintet.model.embedding import RowTensors
from quintet.model.omni import Omni

BATCHES, PROMPT, TOKENS, ROUNDS = (1, 16), 64, 192, 7
MINUTES, LAST = (1, 10, 60), 60  # when a growing session is looked at, and over how many steps
THREADS = 1  # a row is too little to share


def run(model: str = "nano") -> list[Row]:
    """Tokens a second; then milliseconds a step and memory of a session that grows."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    system = load(model)
    omni, llama = system.model, peer(system.config).eval()
    rows = []
    for batch in BATCHES:
        forms = {
            "words": omni.text_image_head.words,
            "image codes": omni.text_image_head.image_codes,
        }
        for name, head in forms.items():
            mine, theirs = _seconds(
                partial(_ours, omni, head, batch), partial(_llama, llama, batch)
            )
            speeds = (batch * TOKENS / mine, batch * TOKENS / theirs)
            rows.append(row(f"{name}, batch {batch}", "tokens / s", *speeds))
    return rows + _growing(system)


def _tokens(entries_B: Tensor, num_codebooks: int) -> Tensor:
    """As rows hold them: [B, 1, Q]."""
    return torch.nn.functional.pad(entries_B[:, None, None], (0, num_codebooks - 1))


@torch.inference_mode()  # as sessions run
def _ours(omni: Omni, head: Callable[[Tensor], Tensor], batch: int) -> None:
    num_codebooks = omni.config.audio.num_codebooks
    cache = KVCache(omni.config.model, PROMPT + TOKENS, batch)
    shape = (batch, PROMPT)
    rows = RowTensors(
        torch.randint(omni.config.text.vocab_size, (*shape, num_codebooks)),
        torch.zeros(shape, dtype=torch.bool),
        torch.arange(PROMPT).expand(shape), torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape), torch.arange(PROMPT).expand(shape),
    )  # fmt: skip
    hidden_BD = omni(rows, cache=cache)[:, -1]
    no_audio, step = (
        torch.zeros(batch, 1, dtype=torch.bool),
        torch.zeros(batch, 1, dtype=torch.long),
    )
    for position in range(PROMPT, PROMPT + TOKENS):
        entries_B = head(hidden_BD).argmax(-1)
        rows = RowTensors(
            _tokens(entries_B, num_codebooks), no_audio, torch.full_like(step, position), step,
            torch.ones(batch, 1), torch.full_like(step, position),
        )  # fmt: skip
        hidden_BD = omni(rows, cache=cache)[:, -1]


def _llama(llama: LlamaForCausalLM, batch: int) -> None:
    ids_BT = torch.randint(llama.config.vocab_size, (batch, PROMPT))
    llama.generate(
        ids_BT, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0,
        attention_mask=torch.ones_like(ids_BT),
    )  # fmt: skip


def _seconds(*ways: Callable[[], None]) -> list[float]:
    """The least seconds of each, taking turns: what else the machine does only adds."""
    least = [np.inf for _ in ways]
    for turn in range(ROUNDS + 1):
        for index, way in enumerate(ways):
            started = time.perf_counter()
            way()
            if turn:  # one round warms up
                least[index] = min(least[index], time.perf_counter() - started)
    return least


def _growing(system: Quintet) -> list[Row]:
    """Median milliseconds of the steps around each of `MINUTES`, beside those of the first, and
    the peak of the process's memory until then."""
    session, rng = system.session(), np.random.default_rng(0)
    picture = rng.integers(0, 255, (96, 96, 3), np.uint8)
    looked = {round(minute * 60 * STEPS_PER_SECOND): minute for minute in MINUTES}
    times: list[float] = []
    rows: list[Row] = []
    first = first_peak = 0.0
    for step in range(1, max(looked) + 1):
        sound = 0.1 * rng.standard_normal(STEP_SAMPLES).astype(np.float32)
        shown = picture if step % 20 == 0 else None
        started = time.perf_counter()
        session.step(sound, shown, "draw a cat." if step % 40 == 7 else None)
        times.append(1_000 * (time.perf_counter() - started))
        if step in looked:
            median = float(np.median(times[-LAST:]))
            peak = peak_kilobytes() / 1_024
            first, first_peak = first or median, first_peak or peak
            rows.append(row(f"a step after {looked[step]} min", "ms", median, first))
            rows.append(row(f"peak memory after {looked[step]} min", "MiB", peak, first_peak))
    return rows
