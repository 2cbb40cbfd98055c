"""The audio tokenizer: seconds of sound encoded and decoded in a second, beside EnCodec.

The peer is the EnCodec of `transformers` at 24 kHz and 3 kbit/s with random weights: speed does
not depend on them. The weight normalization of both is folded into the weights. It is larger (its
rate is 75 frames a second, ours 12), so this is what a choice between the two costs, not which
code is better written.

    quintet bench codec
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.utils import parametrize
from transformers import EncodecConfig, EncodecModel

from benchmarks import Row, row
from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.live import load
from quintet.tokenizers.audio import AudioTokenizer

SECONDS = 10
ROUNDS = 5
THREADS = 2
PEER_BANDWIDTH = 3.0  # kbit/s: four codebooks of 1,024, as ours


@torch.no_grad()
def run(model: str = "nano") -> list[Row]:
    """Seconds of sound a second, whole and streamed by 250 ms; more is better."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    ours = load(model).tokenizers.audio
    peer = _fold(EncodecModel(EncodecConfig()).eval())
    sound_BS = 0.1 * torch.randn(1, SECONDS * SAMPLE_RATE)
    codes_BTQ, _ = ours.encode(sound_BS)
    peer_codes = peer.encode(sound_BS[:, None], bandwidth=PEER_BANDWIDTH)
    mine, theirs = _speeds(
        {
            "encode": lambda: ours.encode(sound_BS),
            "decode": lambda: ours.decode(codes_BTQ),
            "encode, by 250 ms": lambda: _encode_steps(ours, sound_BS),
            "decode, by 250 ms": lambda: _decode_steps(ours, codes_BTQ),
        },
        {
            "encode": lambda: peer.encode(sound_BS[:, None], bandwidth=PEER_BANDWIDTH),
            "decode": lambda: peer.decode(peer_codes.audio_codes, peer_codes.audio_scales),
        },
    )
    rows = [row(name, "s of sound / s", value, theirs.get(name)) for name, value in mine.items()]
    for name, module, other in (("encoder", ours.encoder, peer.encoder),
                                ("decoder", ours.decoder, peer.decoder)):  # fmt: skip
        counts = [sum(p.numel() for p in m.parameters()) / 1e6 for m in (module, other)]
        rows.append(row(f"{name}, parameters", "million", *counts))
    rate = ours.config.bits_per_second / 1_000
    rows.append(row("bit rate", "kbit/s", rate, PEER_BANDWIDTH))
    return rows


def _fold(peer: Any) -> Any:
    """Compute the normalized weights once, as ours does, not at every forward."""
    for module in list(peer.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return peer


def _speeds(
    ours: dict[str, Callable[[], object]], theirs: dict[str, Callable[[], object]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Median speed of each, all taking turns, so that a busy moment hits everyone."""
    jobs = [(0, *item) for item in ours.items()] + [(1, *item) for item in theirs.items()]
    seconds: list[dict[str, list[float]]] = [{}, {}]
    for turn in range(ROUNDS + 1):
        for side, name, job in jobs:
            started = time.perf_counter()
            job()
            if turn:  # the first round warms up
                seconds[side].setdefault(name, []).append(time.perf_counter() - started)
    mine, other = (
        {name: SECONDS / float(np.median(taken)) for name, taken in side.items()}
        for side in seconds
    )
    return mine, other


def _encode_steps(codec: AudioTokenizer, sound_BS: torch.Tensor) -> None:
    state = None
    for piece in sound_BS.split(STEP_SAMPLES, dim=1):
        _, state = codec.encode(piece, state)


def _decode_steps(codec: AudioTokenizer, codes_BTQ: torch.Tensor) -> None:
    state, frames = None, max(1, int(codec.config.frames_per_step))
    for piece in codes_BTQ.split(frames, dim=1):
        _, state = codec.decode(piece, state)
