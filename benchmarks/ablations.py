"""Ablations of the reference's claims, at nano size on the synthetic world, seeds repeated.

Each variant trains from nothing on the same live scenes, transcripts and descriptions, in the
same order, and is judged on scenes kept out of training, by its own predictions of what happened:

    nats / s     of everything that the model said, drew and kept silent about, a second of scene:
                 the same events for every variant with the same codec, however it spells silence
    words        share of the words of answers that were the likeliest
    starts       share of the answers whose beginning was likelier than silence at that tip
    false        share of the silent tips at which speaking was likelier
    frame        nats of a spoken frame, all codebooks together
    rows / s     of scene, which is what memory and time grow with
    ms           of a training step

    python -m benchmarks.ablations [VARIANT ...] [--steps N] [--seeds N] [--processes N]
                                   [--out FOLDER]

It takes the GPU that PyTorch sees, which several processes share well: models this small leave it
waiting. (Then "ms" is of a step beside the others.)

The variants "N frames" compare codecs of N frames a step, each trained alike for it; their frames
and seconds are not of the same codes, so only words, starts and false compare.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import as_command
from benchmarks.ablation_models import MODELS, with_silence
from quintet import train
from quintet.config import STEPS_PER_SECOND, OmniConfig, from_dict
from quintet.model.omni import Batch, Omni
from quintet.stages import audio_tokenizer, documents
from quintet.stages.context import MODEL_FILE, Context
from quintet.stages.omni_task import OmniTask
from quintet.timeline.targets import Sample, Vocabulary
from quintet.tokenizers.folders import AUDIO_FILE, BUNDLED, IMAGE_FILE, TEXT_FILE, read_config
from quintet.tokenizers.weight_files import load_weights
from quintet.train import TrainConfig
from quintet.train.processes import fastest_precision, join

NANO = BUNDLED / "nano"
KINDS = {"realtime": 20, "realtime_test": 1, "transcribe": 20, "describe": 20}  # shards of 250
FEWER = {"realtime": 12, "realtime_test": 1, "transcribe": 6, "describe": 6}  # of other codecs
BATCH, JUDGED_TOGETHER, HELD_OUT = 12, 8, 160
# Strides of the codecs of so many frames a step, beside nano's own (3).
STRIDES = {"3 frames": (5, 5, 8, 10), "5 frames": (4, 5, 6, 10), "18.75 frames": (2, 4, 5, 8)}
CODEC_STEPS = 1_500
SCORES = ("nats / s", "words", "starts", "false", "frame", "rows / s", "ms")


@dataclass(frozen=True)
class Variant:
    """What is exchanged: the model's class, the audio head, the codec."""

    model: str = "as it is"
    audio_head: str = "chained"
    codec: str = ""  # a key of STRIDES; nano's own without


VARIANTS = {
    **{name: Variant(name) for name in MODELS},
    "parallel": Variant(audio_head="parallel"),
    "digits": Variant(audio_head="digits"),
    **{name: Variant(codec=name) for name in STRIDES},
}


def preset_of(variant: Variant) -> OmniConfig:
    values = read_config(NANO)
    preset = from_dict(OmniConfig, values, str(NANO))
    audio = preset.audio
    if variant.codec:
        audio = replace(audio, strides=STRIDES[variant.codec])
    model = replace(preset.model, audio_head=variant.audio_head)  # type: ignore[arg-type]
    return replace(preset, audio=audio, model=model)


def run_folder(variant: Variant, out: Path) -> Path:
    """With the tokenizers in the places where stages look for them."""
    folder = out / (variant.codec or "nano").replace(" ", "-")
    files = {"text_tokenizer": TEXT_FILE, "image_tokenizer": IMAGE_FILE}
    if not variant.codec:
        files["audio_tokenizer"] = AUDIO_FILE
    for stage, file in files.items():
        (folder / stage).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(NANO / file, folder / stage / file)
    return folder


def shards(variant: Variant, out: Path, kind: str) -> list[Sample]:
    """Made once for each codec, which is trained first where it is not nano's."""
    preset, folder = preset_of(variant), run_folder(variant, out)
    if variant.codec:
        table = {
            "steps": CODEC_STEPS, "batch_size": 6, "learning_rate": 1.5e-3, "betas": (0.9, 0.98),
            "precision": "auto", "evaluate_every": CODEC_STEPS,
        }  # fmt: skip
        settings: dict[str, Any] = {"train": table, "utterances": 4_000}
        context = Context("audio_tokenizer", preset, settings, folder)
        if not (folder / "audio_tokenizer" / AUDIO_FILE).exists():
            audio_tokenizer.run(context)
    made = {"shards": FEWER if variant.codec else KINDS, "pictures_each": 60, "processes": 2}
    context = Context("documents", preset, made, folder)
    documents.run(context)
    return documents.samples_of(Context("ablation", preset, {}, folder), kind)


class AblationTask(OmniTask):
    """Trains a variant."""

    variant = Variant()

    def module(self) -> Omni:
        return MODELS[self.variant.model](self.preset)


def train_variant(name: str, out: Path, steps: int, seed: int) -> dict[str, float]:
    """Its scores; what was trained before is kept."""
    variant = VARIANTS[name]
    folder = out / f"{name.replace(' ', '-')}-{steps}-{seed}"
    kept = folder / "scores.json"
    if kept.exists():
        scores: dict[str, float] = json.loads(kept.read_text())
        return scores
    preset = preset_of(variant)
    held_out = scenes_of(variant, shards(variant, out, "realtime_test")[:HELD_OUT])
    samples = scenes_of(variant, shards(variant, out, "realtime"))
    samples += [s for kind in ("transcribe", "describe") for s in shards(variant, out, kind)]
    config = TrainConfig(
        steps, BATCH, learning_rate=1.5e-3, warmup_steps=100, decay_fraction=0.4, seed=seed,
        evaluate_every=steps, checkpoint_every=500,
        precision=fastest_precision(torch.cuda.is_available()),
    )  # fmt: skip
    task = AblationTask(preset, config, samples, held_out, None)
    task.variant = variant
    scores = trained(task, folder, name, held_out)
    kept.write_text(json.dumps(scores, indent=2) + "\n")
    return scores


def trained(
    task: OmniTask, folder: Path, title: str, held_out: Sequence[Sample]
) -> dict[str, float]:
    """Train, or go on; all scores of what came of it."""
    train.run(task, task.config, folder, title)
    model = task.module()
    assert isinstance(model, Omni)
    load_weights(model, folder / MODEL_FILE)
    model.to(join().device)
    seconds = [json.loads(line).get("seconds") for line in (folder / "log.jsonl").open()]
    median = float(np.median([s for s in seconds if s is not None]))
    return judge(model.eval(), held_out) | {"ms": 1_000 * median}


def scenes_of(variant: Variant, samples: list[Sample]) -> list[Sample]:
    """Live scenes in the variant's form."""
    if variant.model != "silence rows":
        return samples
    preset = preset_of(variant)
    vocabulary = Vocabulary(preset.text_image_vocab_size, preset.audio.codebook_size)
    audio = preset.audio
    return [with_silence(s.rows, audio.frames_in, vocabulary, audio.num_codebooks) for s in samples]


@torch.no_grad()
def judge(model: Omni, scenes: Sequence[Sample]) -> dict[str, float]:
    """All scores but the time, over all scenes together."""
    counts: dict[str, float] = {}
    for start in range(0, len(scenes), JUDGED_TOGETHER):
        group = list(scenes[start : start + JUDGED_TOGETHER])
        for name, value in _count(model, Batch.from_samples(group).to(model.device)).items():
            counts[name] = counts.get(name, 0.0) + value
    seconds = sum(int(np.ptp(s.rows.step)) + 1 for s in scenes) / STEPS_PER_SECOND
    return {
        "nats / s": counts["nats"] / seconds,
        "words": counts["right words"] / counts["words"],
        "starts": counts["right starts"] / counts["starts"],
        "false": counts["false starts"] / counts["silent tips"],
        "frame": counts["frame nats"] / max(1.0, counts["frames"]),
        "rows / s": sum(map(len, scenes)) / seconds,
    }


def _count(model: Omni, batch: Batch) -> dict[str, float]:
    hidden_ND = model(batch.rows).flatten(0, 1)
    logits_NV, target_N = model.text_image_head(hidden_ND[batch.text_at]).float(), batch.text_target
    nats_N = torch.nn.functional.cross_entropy(logits_NV, target_N, reduction="none")
    likeliest_N, silence = logits_NV.argmax(-1), model.vocabulary.text_no_output
    is_tip_N = batch.rows.flag.flatten()[batch.text_at] == 0
    speaks_N, is_word_N = target_N != silence, target_N < model.config.text.vocab_size
    speech_M = batch.audio_target[:, 0] != model.vocabulary.audio_no_output
    audio_M = _audio_nats(model, hidden_ND[batch.audio_at], batch.audio_target, speech_M)

    def count(chosen: Tensor) -> float:
        return float(chosen.sum())

    return {
        "nats": count(nats_N) + count(audio_M),
        "words": count(is_word_N),
        "right words": count(is_word_N & (likeliest_N == target_N)),
        "starts": count(is_tip_N & speaks_N),
        "right starts": count(is_tip_N & speaks_N & (likeliest_N != silence)),
        "silent tips": count(is_tip_N & ~speaks_N),
        "false starts": count(is_tip_N & ~speaks_N & (likeliest_N != silence)),
        "frames": count(speech_M),
        "frame nats": count(audio_M[speech_M]),
    }


def _audio_nats(model: Omni, hidden_MD: Tensor, target_MQ: Tensor, speech_M: Tensor) -> Tensor:
    """Of each frame or silence, [M]; the first choice alone decides on silence."""
    head = model.audio_head
    logits_MSR = head(hidden_MD, target_MQ).float()
    nats_MS = torch.nn.functional.cross_entropy(
        logits_MSR.transpose(1, 2), head.choices(target_MQ), reduction="none"
    )
    return torch.where(speech_M, nats_MS.sum(1), nats_MS[:, 0])


def show(results: dict[str, list[dict[str, float]]]) -> Table:
    """Mean over seeds, and half the range between the farthest of them."""
    table = Table("variant", "seeds", *SCORES)
    for name, each in results.items():
        cells = []
        for score in SCORES:
            values = np.array([scores[score] for scores in each])
            cells.append(f"{values.mean():.3g} ± {np.ptp(values) / 2:.2g}")
        table.add_row(name, str(len(each)), *cells)
    return table


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(VARIANTS)))
@click.option("--steps", default=2_000, show_default=True)
@click.option("--seeds", default=2, show_default=True)
@click.option("--processes", default=1, show_default=True, help="That train side by side.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/ablations"))
def main(names: tuple[str, ...], steps: int, seeds: int, processes: int, out: Path) -> None:
    """Train and judge each of NAMES (all by default), seed by seed; print a table."""
    names = names or tuple(VARIANTS)
    for codec in dict.fromkeys(VARIANTS[name].codec for name in names):
        shards(Variant(codec=codec), out, "realtime")  # made once, before any needs them
    jobs = [(name, out, steps, seed) for seed in range(seeds) for name in names]
    columns = zip(*jobs, strict=True)
    results: dict[str, list[dict[str, float]]] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, _one_thread) as pool:
        for (name, *_), scores in zip(jobs, pool.map(train_variant, *columns), strict=True):
            results.setdefault(name, []).append(scores)
            Console(width=120).print(show(results))


def _one_thread() -> None:
    torch.set_num_threads(1)


if __name__ == "__main__":
    as_command(main)
