"""Model FLOPs utilization of training on a GPU: the share of its products that the model needs.

A preset trains on one device in bfloat16, with FlexAttention over packed lines of random rows and
each block compiled, as `quintet train` would. What a row needs is `quintet.train.plan`'s count
(6 operations a parameter that it uses, and attention; computing again is not counted); the peak is
the device's of the same table. Without a GPU it runs a step on the CPU, which has no entry there,
and prints the speed alone.

    python -m benchmarks.utilization [--preset small] [--lines N] [--rows N]
"""

from __future__ import annotations

import time

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import Row, as_command, row
from benchmarks.train import random_scene
from quintet.config import OmniConfig, load_preset
from quintet.model.omni import Batch, Omni
from quintet.timeline.packing import pack
from quintet.timeline.targets import Sample
from quintet.train.memory import Layout
from quintet.train.parallel import parallelize
from quintet.train.plan import DEVICES, work
from quintet.train.processes import Place
from quintet.train.task import TrainConfig

WARM_UP, STEPS = 3, 10


def measure(config: OmniConfig, lines: int, rows: int) -> list[Row]:
    """Rows a second, and the utilization where the device's peak is known."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = Omni(config)
    settings = TrainConfig(1, lines, precision="bfloat16", compile=device.type == "cuda")
    parallelize(model, settings, Place(device=device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device.type == "cuda")
    batch = _batch(config, lines, rows).to(device)
    times = []
    for _ in range(WARM_UP + STEPS if device.type == "cuda" else 2):
        _wait(device)
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            loss = model.losses(batch)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        _wait(device)
        times.append(time.perf_counter() - started)
    seconds, count = float(np.median(times[-STEPS:])), batch.rows.step.numel()
    made = [row(f"training {config.name}, bfloat16", "rows / s", count / seconds)]
    known = next((d for n, d in DEVICES.items() if n in _name(device)), None)
    if known is not None:
        asked = (len(batch.text_at) / count, len(batch.audio_at) / count)
        layout = Layout(1, samples=lines, rows=count // lines, checkpointing=False,
                        text_share=asked[0], audio_share=asked[1])  # fmt: skip
        share = work(config, layout).model / (seconds * known.peak_flops)
        made.append(row("model FLOPs utilization", "share", share, 0.4))
    return made


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device).lower() if device.type == "cuda" else "cpu"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _batch(config: OmniConfig, lines: int, rows: int) -> Batch:
    """Scenes of random rows, packed into the first `lines` lines."""
    rng, packed = np.random.default_rng(0), list[list[Sample]]()
    scenes: list[Sample] = []
    while len(packed) <= lines:  # one more, for the last is not full
        scenes.append(random_scene(config, rng))
        packed = pack(scenes, rows)
    return Batch.from_lines(packed[:lines], config.live.window_steps)


@click.command()
@click.option("--preset", default="small", show_default=True)
@click.option("--lines", default=2, show_default=True)
@click.option("--rows", default=16_384, show_default=True, help="Of a line.")
def main(preset: str, lines: int, rows: int) -> None:
    """Train PRESET for a few steps on one device; print a table."""
    table = Table("", "unit", "value", "bar", "ratio")
    for one in measure(load_preset(preset), lines, rows):
        beside = ("" if one[key] is None else f"{one[key]:.3g}" for key in ("peer", "ratio"))
        table.add_row(one["name"], one["unit"], f"{one['value']:,.4g}", *beside)
    Console().print(table)


if __name__ == "__main__":
    as_command(main)
