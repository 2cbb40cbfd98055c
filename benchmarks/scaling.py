"""How large a transformer should be for so much computing: sizes at equal cost, from nothing.

Every size trains on the same live scenes, transcripts and descriptions for the same number of
operations (`quintet.train.plan.work`), so a larger one for fewer steps, with a learning rate that
falls as the width grows. It is judged as `benchmarks.ablations` judges, on scenes kept out of
training.

    parameters   all of them
    steps        of 12 samples, that the budget pays for
    nats / s     of everything that the model said, drew and kept silent about, a second of scene
    words, starts, false, frame    as `benchmarks.ablations` says
    ms           of a training step here

    python -m benchmarks.scaling [--budget TERA ...] [--size NAME ...] [--out FOLDER] [--plot FILE]
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from rich.console import Console
from rich.table import Table

from benchmarks import as_command
from benchmarks.ablations import BATCH, HELD_OUT, Variant, preset_of, shards, trained
from quintet.config import OmniConfig
from quintet.data.loader import Loader
from quintet.model.omni import Batch
from quintet.stages.omni_task import OmniTask
from quintet.timeline.targets import Sample
from quintet.train import TrainConfig
from quintet.train.memory import Layout, sizes
from quintet.train.plan import work

TERA = 1e12
BUDGETS = (40.0, 160.0)  # teraFLOP
# Width, layers, heads, key-value heads, width of the feed-forward layers; heads are 32 wide.
SIZES = {
    "96 x 4": (96, 4, 3, 1, 256),
    "192 x 6": (192, 6, 6, 2, 512),  # nano
    "288 x 8": (288, 8, 9, 3, 768),
    "384 x 10": (384, 10, 12, 4, 1024),
}
RATE = 1.5e-3  # learning rate of nano's width
MEASURED = 40  # batches from which a batch's usual cost is known
SCORES = ("parameters", "steps", "nats / s", "words", "starts", "false", "frame", "ms")
Results = dict[tuple[str, float], dict[str, float]]


def preset_for(size: str) -> OmniConfig:
    """Nano with another transformer."""
    width, layers, heads, kv_heads, inner = SIZES[size]
    preset = preset_of(Variant())
    model = replace(
        preset.model, d_model=width, num_layers=layers, num_heads=heads, num_kv_heads=kv_heads,
        d_feed_forward=inner,
    )  # fmt: skip
    return replace(preset, model=model)


def rate_for(preset: OmniConfig) -> float:
    """Learning rate: as one over the width, which keeps what a step of AdamW changes in the
    outputs of a matrix (Yang et al. 2022)."""
    return RATE * (preset_of(Variant()).model.d_model / preset.model.d_model)


def batch_flops(preset: OmniConfig, samples: list[Sample]) -> float:
    """Operations of a training step on a usual batch, with its padding."""
    loader, costs = Loader(samples, BATCH, 0, preset.image.num_tokens), []
    for step in range(MEASURED):
        batch = Batch.from_samples(loader.batch(step))
        lines, rows = batch.rows.step.shape
        layout = Layout(
            1, samples=lines, rows=rows, checkpointing=False,
            text_share=len(batch.text_at) / (lines * rows),
            audio_share=len(batch.audio_at) / (lines * rows),
        )  # fmt: skip
        costs.append(work(preset, layout).model)
    return float(np.mean(costs))


def train_size(size: str, budget: float, out: Path) -> dict[str, float]:
    """Its scores; what was trained before is kept, and what was begun goes on."""
    folder = out / f"{size.replace(' ', '')}-{budget:g}"
    kept = folder / "scores.json"
    if kept.exists():
        scores: dict[str, float] = json.loads(kept.read_text())
        return scores
    preset, variant = preset_for(size), Variant()
    samples = [
        sample for kind in ("realtime", "transcribe", "describe")
        for sample in shards(variant, out, kind)
    ]  # fmt: skip
    held_out = shards(variant, out, "realtime_test")[:HELD_OUT]
    steps = max(1, round(budget * TERA / batch_flops(preset, samples)))
    config = TrainConfig(
        steps, BATCH, learning_rate=rate_for(preset), warmup_steps=min(100, steps // 10),
        decay_fraction=0.4, evaluate_every=steps, checkpoint_every=100, precision="float32",
    )  # fmt: skip
    task = OmniTask(preset, config, samples, held_out, None)
    scores = {"parameters": float(sizes(preset).total), "steps": float(steps)}
    scores |= trained(task, folder, f"{size}, {budget:g} teraFLOP", held_out)
    kept.write_text(json.dumps(scores, indent=2) + "\n")
    return scores


def show(results: Results) -> Table:
    table = Table("size", "teraFLOP", *SCORES)
    for (size, budget), scores in results.items():
        table.add_row(size, f"{budget:g}", *(f"{scores[name]:,.4g}" for name in SCORES))
    return table


def plot(results: Results, path: Path) -> None:
    """A curve for each budget: held-out nats a second against parameters."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    measured = sorted({round(scores["parameters"] / 1e6, 1) for scores in results.values()})
    for budget in sorted({budget for _, budget in results}):
        found = [scores for (_, own), scores in results.items() if own == budget]
        found.sort(key=lambda scores: scores["parameters"])
        axes.plot(
            [scores["parameters"] / 1e6 for scores in found],
            [scores["nats / s"] for scores in found],
            marker="o", label=f"{budget:g} teraFLOP",
        )  # fmt: skip
    axes.set(
        xscale="log", yscale="log", title="At equal cost, from nothing",
        xlabel="million parameters", ylabel="nats a second of held-out scene",
    )  # fmt: skip
    axes.set_xticks(measured, map(str, measured))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.legend()
    figure.savefig(path)


@click.command()
@click.option("--budget", "budgets", multiple=True, type=float, default=BUDGETS, show_default=True)
@click.option("--size", "names", multiple=True, type=click.Choice(list(SIZES)), default=list(SIZES))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/scaling"))
@click.option("--plot", "picture", type=click.Path(path_type=Path))
def main(
    budgets: tuple[float, ...], names: tuple[str, ...], out: Path, picture: Path | None
) -> None:
    """Train and judge each size at each budget; print a table."""
    torch.set_num_threads(1)
    results: Results = {}
    for budget in sorted(budgets):
        for name in names:
            results[name, budget] = train_size(name, budget, out)
    Console().print(show(results))
    if picture is not None:
        plot(results, picture)


if __name__ == "__main__":
    as_command(main)
