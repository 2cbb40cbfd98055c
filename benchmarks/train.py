"""Training: rows a second of one optimizer step, beside a Llama of the same width and depth.

The peer is the Llama of `transformers` with random weights, the same width, depth, heads and
feed-forward, as many entries as our text+image vocabulary, the same batches, precision and
optimizer; both as they are, and with their layers compiled the same way. Both run their text
head, and its loss, at the same asked rows alone; a Llama as it comes would compute logits at every
row. Ours has a second head (the audio head speaks four codebooks), which its peer has not.

    quintet bench train
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import Row, row
from quintet.config import OmniConfig, load_preset
from quintet.model.omni import Batch, Omni
from quintet.timeline.streams import Stream
from quintet.timeline.targets import Sample, Vocabulary, live_sample
from quintet.timeline.timeline import Timeline
from quintet.train.parallel import has_compiler
from quintet.train.processes import fastest_precision

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BATCH, STEPS, ROUNDS = 12, 48, 8
THREADS = 2


def run(model: str = "nano") -> list[Row]:
    """Rows a second; more is better. `model` is a preset's name here."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    config = load_preset(model)
    omni, batch = Omni(config), _batch(config)
    llama = peer(config)
    count = batch.rows.step.numel()
    precisions = dict(PRECISIONS)
    if fastest_precision(False) == "float32":  # bfloat16 takes ten minutes, of either
        del precisions["bfloat16"]
    rows = []
    for way in ("", ", compiled"):
        if way and not has_compiler():
            continue
        for layer in (*omni.transformer.layers, *llama.model.layers) if way else ():
            layer.forward = torch.compile(layer.forward, dynamic=True)
        for name, precision in precisions.items():
            mine, theirs = _seconds(
                _trainer(omni, lambda: omni.losses(batch)["loss"], precision),
                _trainer(llama, lambda: _llama_loss(llama, batch), precision),
            )
            rows.append(row(f"training, {name}{way}", "rows / s", count / mine, count / theirs))
    sizes = [sum(p.numel() for p in m.parameters()) / 1e6 for m in (omni, llama)]
    return [*rows, row("parameters", "million", *sizes)]


def _batch(config: OmniConfig) -> Batch:
    """Scenes of random rows, as long and as mixed as those of the synthetic world."""
    rng = np.random.default_rng(0)
    return Batch.from_samples([random_scene(config, rng) for _ in range(BATCH)])


def random_scene(config: OmniConfig, rng: np.random.Generator) -> Sample:
    """`STEPS` steps of somebody who talks, shows and is answered, in rows that mean nothing."""
    vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
    audio, text = config.audio, config.text.vocab_size
    timeline = Timeline(audio.num_codebooks, text)

    def frames(step: int) -> np.ndarray:
        return rng.integers(audio.codebook_size, size=(audio.frames_in(step), audio.num_codebooks))

    for step in range(STEPS):
        if step % 16 in (8, 9, 10, 11):
            if step % 16 == 8:
                timeline.add_text(Stream.TEXT_OUT, rng.integers(4, text, 8), step)
            timeline.add_audio(Stream.AUDIO_OUT, frames(step), step)
        if step % 32 == 3:
            codes = rng.integers(config.image.codebook_size, size=config.image.num_tokens)
            timeline.add_image(Stream.IMAGE_IN, codes, step)
        timeline.add_audio(Stream.AUDIO_IN, frames(step), step)
    budget = config.live.text_image_rows_per_step
    return live_sample(timeline.rows(), budget, audio.frames_in, vocabulary)


def peer(config: OmniConfig) -> LlamaForCausalLM:
    """The Llama of `config`'s width, depth, heads, feed-forward and text+image vocabulary."""
    sizes = config.model
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.text_image_vocab_size + 1,
            hidden_size=sizes.d_model,
            intermediate_size=sizes.d_feed_forward,
            num_hidden_layers=sizes.num_layers,
            num_attention_heads=sizes.num_heads,
            num_key_value_heads=sizes.num_kv_heads,
            tie_word_embeddings=False,
        )
    )


def _llama_loss(llama: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    ids_BT = batch.rows.tokens[..., 0] % llama.config.vocab_size
    hidden_BTD = llama.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    logits_NV = llama.lm_head(hidden_BTD.flatten(0, 1)[batch.text_at])
    return F.cross_entropy(logits_NV.float(), batch.text_target)


def _trainer(
    module: nn.Module, loss: Callable[[], torch.Tensor], precision: torch.dtype
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    return step


def _seconds(*steps: Callable[[], None]) -> list[float]:
    """Median seconds of each, taking turns."""
    taken: list[list[float]] = [[] for _ in steps]
    for turn in range(ROUNDS + 2):
        for index, step in enumerate(steps):
            started = time.perf_counter()
            step()
            if turn > 1:  # two rounds warm up
                taken[index].append(time.perf_counter() - started)
    return [float(np.median(times)) for times in taken]
