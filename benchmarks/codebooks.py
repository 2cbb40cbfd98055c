"""Ways to learn codebooks of 65,536 entries, beside one another.

    ema         moving averages, restarts: memory and patience in vectors a code (the product's)
    ema-batch   the same with a memory of 100 batches and a patience of 40, whatever the size
    simvq       a frozen random base and a learned linear map (Zhu et al. 2024), its own rate
    factorized  8-dimensional codes on the sphere, learned by gradient (Kumar et al. 2023)

A small codec of 75 frames a second first learns without a bottleneck. From there each way trains
four residual codebooks: on the latent vectors of that encoder, which is quick enough for millions
of them; or, with --codec, while encoder and decoder go on training with it, on the same clips.
Reported on voices kept out of training: codes used, perplexity of each codebook, the share of the
variance that is left; and with --codec the log-mel distance.

    python -m benchmarks.codebooks WAY --out runs/codebooks [--codec] [--steps N]
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import as_command, codebook_ways
from quintet import train
from quintet.config import SAMPLE_RATE, AudioConfig
from quintet.data.world.speech_bank import SpeechBank
from quintet.data.world.tongues import any_line
from quintet.stages.audio_tokenizer import AudioTokenizerTask, CodecSettings, CodecTraining
from quintet.train import Task, TrainConfig
from quintet.train.checkpoint import weights
from quintet.train.processes import fastest_precision

CHANNELS, LATENT_DIM, STRIDES = 8, 64, (2, 4, 5, 8)
FILL_VECTORS = 1.25  # encoder outputs a code, from which moving averages start
VECTORS = 4_096  # of a step on latent vectors alone
CHECK_VECTORS = 65_536  # held out, at every evaluation
FINAL_VECTORS = (65_536, 262_144, 524_288)  # held out, at the end
PIECE = 20 * SAMPLE_RATE


def _latents(codec: Any, samples: np.ndarray, count: int) -> Iterator[Tensor]:
    """Latent vectors [T, D] of the first `count` or so frames, piece by piece."""
    state, hop = None, codec.config.hop
    with torch.no_grad():
        for start in range(0, min(len(samples), count * hop), PIECE):
            piece = torch.from_numpy(np.asarray(samples[start : start + PIECE], np.float32))
            latents_BDT, state = codec.encoder(piece[None, None], state)
            yield latents_BDT[0].T.contiguous()


class CodecTask(AudioTokenizerTask):
    """The codec's own training with other codebooks, from weights trained without any."""

    way: str = ""
    start: Path | None = None

    def module(self) -> nn.Module:
        module = CodecTraining(self.config, self.settings)
        # About the mean log-mel: else latents grow to reach it, and the decoder shouts.
        nn.init.constant_(module.probe.bias, -7.0)
        if self.start is not None:
            _load(module, self.start)
            sizes = (self.config.codebook_size, self.config.latent_dim, self.config.num_codebooks)
            module.codec.quantizer.layers = codebook_ways.make(self.way, *sizes)
        return module

    def parameters(self, module: nn.Module) -> list[dict[str, Any]]:
        return codebook_ways.groups(module.named_parameters())

    def before_step(self, module: nn.Module, step: int) -> None:
        """Without the average, which is of no use here."""
        if step == self.settings.fill_step and self.start is not None:
            assert isinstance(module, CodecTraining)
            count = round(FILL_VECTORS * self.config.codebook_size)
            vectors_ND = self.outputs(module.codec, count, step)
            codebook_ways.start(module.codec.quantizer.layers, vectors_ND)

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        assert isinstance(module, CodecTraining)
        heard_BS, clean_BS = self._clips(0, 24, True)
        made_BS, *_ = module.codec(heard_BS, self.start is not None)
        scores = {"mel": float(module.sound.mel(made_BS, clean_BS))}
        return scores | (self.use(module, CHECK_VECTORS) if self.start is not None else {})

    def show(self, module: nn.Module, folder: Path) -> None:
        """Nothing, nor is anything kept but the log: the average was not updated."""

    def export(self, module: nn.Module, folder: Path) -> None:
        """Nothing."""

    def use(self, module: CodecTraining, count: int) -> dict[str, float]:
        vectors_ND = torch.cat(list(_latents(module.codec, self.held_out.samples, count)))
        layers = module.codec.quantizer.layers
        return codebook_ways.use(layers, vectors_ND, self.config.codebook_size)


class LatentTask(Task):
    """Codebooks on the latent vectors of an encoder that does not change."""

    def __init__(
        self, way: str, codebook_size: int, vectors_ND: Tensor, held_out_ND: Tensor
    ) -> None:
        self.way, self.size = way, codebook_size
        self.vectors_ND, self.held_out_ND = vectors_ND, held_out_ND

    def module(self) -> nn.Module:
        return codebook_ways.make(self.way, self.size, LATENT_DIM, 4)

    def parameters(self, module: nn.Module) -> list[dict[str, Any]]:
        named = [("." + name, parameter) for name, parameter in module.named_parameters()]
        # Moving averages learn without an optimizer, which needs something to hold.
        return codebook_ways.groups(named) if named else [{"params": [nn.Parameter(torch.ones(1))]}]

    def batch(self, step: int) -> Tensor:
        rows = np.random.default_rng((1, step)).integers(len(self.vectors_ND), size=VECTORS)
        return self.vectors_ND[torch.from_numpy(rows)].float()

    def before_step(self, module: nn.Module, step: int) -> None:
        if step == 0:
            count = round(FILL_VECTORS * self.size)
            rows = np.random.default_rng(0).choice(len(self.vectors_ND), count, replace=False)
            codebook_ways.start(module, self.vectors_ND[torch.from_numpy(rows)].float())

    def losses(self, module: nn.Module, batch: Tensor, step: int) -> dict[str, Tensor]:
        residual_ND, losses = batch, []
        for layer in module:  # type: ignore[attr-defined]
            chosen_ND, _, loss = layer(residual_ND)
            residual_ND = residual_ND - chosen_ND.detach()
            losses.append(loss)
        loss = torch.stack(losses).sum()
        return {"loss": loss if loss.requires_grad else loss.detach().requires_grad_()}

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        return codebook_ways.use(module, self.held_out_ND[:CHECK_VECTORS].float(), self.size)

    def export(self, module: nn.Module, folder: Path) -> None:
        """At last on ever more held-out vectors."""
        module.eval()
        curve = [
            codebook_ways.use(module, self.held_out_ND[:count].float(), self.size)
            for count in FINAL_VECTORS
        ]
        (folder / "curve.json").write_text(json.dumps(curve, indent=2) + "\n")


def _load(module: nn.Module, run: Path) -> None:
    state = weights(run)
    wanted = {key: value for key, value in state.items() if ".quantizer." not in key}
    missing, unknown = module.load_state_dict(wanted, strict=False)
    assert not unknown and all(".quantizer." in name for name in missing)


def _cached(path: Path, task: CodecTask, bank: SpeechBank, count: int) -> Tensor:
    """Latent vectors of the warm encoder, float16 [N, D]."""
    if not path.exists():
        module = task.module().eval()
        assert isinstance(module, CodecTraining) and task.start is not None
        parts = [part.half() for part in _latents(module.codec.fold(), bank.samples, count)]
        np.save(path, torch.cat(parts).numpy())
    return torch.from_numpy(np.load(path))


@click.command()
@click.argument("way", type=click.Choice(sorted(codebook_ways.WAYS)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/codebooks"))
@click.option("--codec", is_flag=True, help="Train encoder and decoder too.")
@click.option("--steps", default=500)
@click.option("--warm-steps", default=400)
@click.option("--codebook-size", default=65_536)
@click.option("--lines", default=9_000)
def main(
    way: str, out: Path, codec: bool, steps: int, warm_steps: int, codebook_size: int, lines: int
) -> None:
    """Train WAY; its curve is in OUT/KIND-WAY/log.jsonl."""
    speech = SpeechBank.make(out / "speech", lines, 0, "train", any_line)
    held_out = SpeechBank.make(out / "speech", lines // 2, 0, "test")

    def task(size: int, fill_step: int) -> CodecTask:
        config = AudioConfig(CHANNELS, STRIDES, latent_dim=LATENT_DIM, codebook_size=size)
        return CodecTask(config, CodecSettings(fill_step, steps), speech, held_out, 12, 0)

    def settings(steps: int, every: int) -> TrainConfig:
        return TrainConfig(
            steps, 12, 4e-4, 100, betas=(0.8, 0.95), precision=fastest_precision(False),
            decay_fraction=0.2, evaluate_every=every, checkpoint_every=200,
        )  # fmt: skip

    def quick() -> TrainConfig:
        return TrainConfig(steps, VECTORS, 1e-3, 20, decay_fraction=0.2, evaluate_every=50)

    warm = task(2, warm_steps)
    train.run(warm, settings(warm_steps, warm_steps), out / "warm", "warm")
    chosen = task(codebook_size, 0)
    chosen.way, chosen.start = way, out / "warm"
    if codec:
        train.run(chosen, settings(steps, 100), out / f"codec-{way}", way)
        return
    vectors_ND = _cached(out / "train.npy", chosen, speech, 1_600_000)
    held_out_ND = _cached(out / "test.npy", chosen, held_out, FINAL_VECTORS[-1])
    alone = LatentTask(way, codebook_size, vectors_ND, held_out_ND)
    train.run(alone, quick(), out / f"latents-{way}", way)


if __name__ == "__main__":
    as_command(main)
