"""The audio tokenizer: seconds of sound encoded and decoded in a second, beside its peers.

Ours are the codec of a model and that of the `reference` preset with random weights. The peers
are EnCodec (24 kHz, 3 kbit/s), Mimi and DAC (24 kHz) of `transformers` with random weights: speed
does not depend on them. The weight normalization of all is folded into the weights. The reference
has EnCodec's shape and larger codebooks, so that row compares the code; nano has another shape,
so its rows say what a choice between the two costs. The peers do not stream here.

    quintet bench codec
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel

from benchmarks import Row, row
from quintet.config import SAMPLE_RATE, STEP_SAMPLES, load_preset
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.codec_folder import load_codec

SECONDS = 10
THREADS = (1, 2)
TURNS = 5  # of each job; the first warms up
LATENCY_LIMIT = 30.0  # milliseconds of a 250 ms step that the codec may take
ENCODEC_RATE = 3.0  # kbit/s: four codebooks, as ours
# The default configuration is for 16 kHz; this is the shape of DAC's 24 kHz model.
DAC_24_KHZ: dict[str, Any] = {
    "sampling_rate": SAMPLE_RATE, "downsampling_ratios": (2, 4, 5, 8), "n_codebooks": 32,
}  # fmt: skip

Job = Callable[[], object]


@torch.no_grad()
def run(model: str = "nano") -> list[Row]:
    """Seconds of sound a second (more is better), and the latency of a step in milliseconds."""
    torch.manual_seed(0)
    sound_BS = 0.1 * torch.randn(1, SECONDS * SAMPLE_RATE)
    ours, peers = _ours(model), _peers()
    jobs: dict[str, Job] = {}
    for name, codec in ours.items():
        jobs |= _whole_jobs(name, codec, sound_BS) | _streaming_jobs(name, codec, sound_BS)
    for name, peer in peers.items():
        jobs |= _jobs_of_peer(name, peer, sound_BS)
    rows: list[Row] = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        speed = {name: SECONDS / float(np.median(taken)) for name, taken in _seconds(jobs).items()}
        rows += _speed_rows(speed, list(ours), list(peers), threads)
    torch.set_num_threads(THREADS[0])
    for name, codec in ours.items():
        rows += _latency_rows(name, codec, sound_BS)
    return rows + _size_rows(ours, peers)


def _ours(model: str) -> dict[str, AudioTokenizer]:
    random = AudioTokenizer(load_preset("reference").audio).fold().eval()
    _place_codes(random)
    name = Path(model).resolve().name
    return {"reference": random, name if name != "reference" else "yours": load_codec(model)}


def _place_codes(codec: AudioTokenizer) -> None:
    """Random codes where the random encoder's vectors are, as training would put them. (Fresh ones
    lie a hundred times farther out, all about as far from every vector: what is then nearest takes
    the search several times as long, and says nothing of a codec that somebody would use.)"""
    latents_BDT, _ = codec.encoder(0.1 * torch.randn(1, 1, SECONDS * SAMPLE_RATE))
    residual_ND = latents_BDT[0].T
    for layer in codec.quantizer.layers:
        mean_D, spread_D = residual_ND.mean(0), residual_ND.std(0)
        layer.codebook.copy_(mean_D + spread_D * torch.randn_like(layer.codebook))
        residual_ND = residual_ND - layer.codebook[layer.search(residual_ND)]


def _peers() -> dict[str, Any]:
    """The peers with random weights, ready for use."""
    models = {
        "EnCodec": EncodecModel(EncodecConfig()),
        "Mimi": MimiModel(MimiConfig()),
        "DAC": DacModel(DacConfig(**DAC_24_KHZ)),
    }
    return {name: _fold(model.eval()) for name, model in models.items()}


def _fold(peer: Any) -> Any:
    """Compute the normalized weights once, as ours does, not at every forward."""
    for module in list(peer.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return peer


def _whole_jobs(name: str, codec: AudioTokenizer, sound_BS: Tensor) -> dict[str, Job]:
    codes_BTQ, _ = codec.encode(sound_BS)
    return {
        f"{name} encode": lambda: codec.encode(sound_BS),
        f"{name} decode": lambda: codec.decode(codes_BTQ),
    }


def _streaming_jobs(name: str, codec: AudioTokenizer, sound_BS: Tensor) -> dict[str, Job]:
    sounds, codes = _steps(codec, sound_BS)
    return {
        f"{name} encode by 250 ms": lambda: _encode(codec, sounds),
        f"{name} decode by 250 ms": lambda: _decode(codec, codes),
    }


def _steps(
    codec: AudioTokenizer, sound_BS: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The sound by steps of 6,000 samples, and the codes that complete in each step."""
    codes_BTQ, _ = codec.encode(sound_BS)
    sounds = sound_BS.split(STEP_SAMPLES, dim=1)
    frames = [codec.config.frames_in(step) for step in range(len(sounds))]
    return sounds, codes_BTQ.split(frames, dim=1)


def _encode(codec: AudioTokenizer, sounds: tuple[Tensor, ...]) -> None:
    state = None
    for piece_BS in sounds:
        _, state = codec.encode(piece_BS, state)


def _decode(codec: AudioTokenizer, codes: tuple[Tensor, ...]) -> None:
    state = None
    for piece_BTQ in codes:
        _, state = codec.decode(piece_BTQ, state)


def _jobs_of_peer(name: str, peer: Any, sound_BS: Tensor) -> dict[str, Job]:
    sound_BCS = sound_BS[:, None]
    settings = {"bandwidth": ENCODEC_RATE} if isinstance(peer, EncodecModel) else {}

    def encode() -> Any:
        return peer.encode(sound_BCS, **settings)

    made = encode()
    codes: tuple[Any, ...]
    if isinstance(peer, EncodecModel):
        codes = (made.audio_codes, made.audio_scales)
    elif isinstance(peer, DacModel):
        codes = (made.quantized_representation,)
    else:
        codes = (made.audio_codes,)
    return {f"{name} encode": encode, f"{name} decode": lambda: peer.decode(*codes)}


def _seconds(jobs: dict[str, Job]) -> dict[str, list[float]]:
    """Seconds of each job, all taking turns, so that a busy moment hits everyone.

    DAC, of which one turn lasts as long as ten of EnCodec's, is measured once.
    """
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(TURNS):
        for name, job in jobs.items():
            if name.startswith("DAC") and turn != 1:
                continue
            started = time.perf_counter()
            job()
            if turn:
                taken[name].append(time.perf_counter() - started)
    return taken


def _speed_rows(
    speed: dict[str, float], ours: list[str], peers: list[str], threads: int
) -> list[Row]:
    """Ours beside one peer in each row, EnCodec first; then ours as a stream, alone."""
    many = f"{threads} thread{'s' if threads > 1 else ''}"
    unit = "s of sound / s"
    rows = [
        row(f"{name} {way}, {many}, vs {peer}", unit, speed[f"{name} {way}"],
            speed[f"{peer} {way}"])
        for peer, name, way in itertools.product(peers, ours, ("encode", "decode"))
    ]  # fmt: skip
    for name, way in itertools.product(ours, ("encode by 250 ms", "decode by 250 ms")):
        rows.append(row(f"{name} {way}, {many}", unit, speed[f"{name} {way}"]))
    return rows


def _latency_rows(name: str, codec: AudioTokenizer, sound_BS: Tensor) -> list[Row]:
    """Milliseconds of one step, encoded and decoded, beside the limit; less is better."""
    heard = voice = None
    milliseconds = []
    for turn in range(TURNS):
        for piece_BS in sound_BS.split(STEP_SAMPLES, dim=1):
            started = time.perf_counter()
            codes_BTQ, heard = codec.encode(piece_BS, heard)
            _, voice = codec.decode(codes_BTQ, voice)
            if turn:
                milliseconds.append(1_000 * (time.perf_counter() - started))
    return [
        row(f"{name}, p{percent} of a 250 ms step, 1 thread", "ms",
            float(np.percentile(milliseconds, percent)), LATENCY_LIMIT)
        for percent in (50, 99)
    ]  # fmt: skip


def _size_rows(ours: dict[str, AudioTokenizer], peers: dict[str, Any]) -> list[Row]:
    """Parameters and bit rates, which explain the speeds; codebooks are not counted."""
    rows: list[Row] = []
    encodec = peers["EnCodec"]
    for name, codec in ours.items():
        rows += [
            row(f"{name} {part}, parameters, vs EnCodec", "million",
                _millions(getattr(codec, part)), _millions(getattr(encodec, part)))
            for part in ("encoder", "decoder")
        ]  # fmt: skip
        rate = codec.config.bits_per_second / 1_000
        rows.append(row(f"{name} bit rate, vs EnCodec", "kbit/s", rate, ENCODEC_RATE))
    rows += [
        row(f"{name} {part}, parameters", "million", _millions(getattr(peer, part)))
        for name, peer in peers.items()
        if name != "EnCodec"
        for part in ("encoder", "decoder")
    ]
    return rows


def _millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6
