"""What each part of the image tokenizer's training brings, all else equal: an ablation.

The network of the preset pictures-65k trains for a few thousand steps in each way; then it is
judged on held-out pictures. Two figures say what the eye would: SSIM, and the share of characters
that tesseract gets wrong on decoded pages.

    python -m benchmarks.image_ways [WAY ...] [--steps N]
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import as_command, interval
from benchmarks.image_codes import CROP, LARGEST, PAGES, PHOTOGRAPHS
from benchmarks.image_quality import Codec, PictureSet, judge, ours, page_sets, thing_set
from benchmarks.picture_scores import SCORES
from quintet import train
from quintet.config import load_preset
from quintet.data.picture_bank import Mixture, held_out_crops, picture_bank
from quintet.stages.image_tokenizer import ImageSettings, ImageTokenizerTask
from quintet.tokenizers.image_folder import load_image_tokenizer
from quintet.train import TrainConfig
from quintet.train.processes import fastest_precision

RUNS = Path("runs/image_ways")
PICTURES = 4_000
PAGE_SIZE, FONT_SIZES = 384, ("pages 12 px", "pages 16 px", "pages 24 px")
PLAIN = ImageSettings(fill_step=100, structure=0.0)
WAYS = {
    "pixels": PLAIN,
    "structure": replace(PLAIN, structure=0.2),
    "discriminator": replace(PLAIN, structure=0.2, discriminator_channels=24),
    "groups": replace(PLAIN, structure=0.2),  # normalized over the picture, as in VQ-GAN
}
ADVERSARIAL_AT = 0.6  # of the steps


def train_way(way: str, steps: int) -> Path:
    """The folder of the tokenizer that `way` makes; what was trained before is kept."""
    image, settings = load_preset("pictures-65k").image, WAYS[way]
    image = replace(image, normalization="group" if way == "groups" else "pixel")
    settings = replace(settings, adversarial_step=round(steps * ADVERSARIAL_AT))
    mixture = Mixture(CROP, LARGEST, PAGES, PHOTOGRAPHS)
    config = TrainConfig(
        steps, 8, learning_rate=1.5e-3, betas=(0.9, 0.98), decay_fraction=0.5,
        precision=fastest_precision(False), evaluate_every=steps,
    )  # fmt: skip
    task = ImageTokenizerTask(
        image, settings, picture_bank(RUNS / "pictures", mixture, PICTURES, 0),
        held_out_crops(mixture, 16, 0), config.batch_size, config.seed,
    )  # fmt: skip
    train.run(task, config, RUNS / f"{way}-{steps}", way)
    return RUNS / f"{way}-{steps}"


def sets() -> list[PictureSet]:
    """Held-out pages and things."""
    pages = [one for one in page_sets(PAGE_SIZE, 6) if one.name in FONT_SIZES]
    return [*pages, thing_set(PAGE_SIZE // 2)]


@click.command()
@click.argument("ways", nargs=-1, type=click.Choice(list(WAYS)))
@click.option("--steps", default=1_200, show_default=True)
def main(ways: tuple[str, ...], steps: int) -> None:
    """Train and judge each of WAYS (all by default); print a table."""
    torch.set_num_threads(1)
    table = Table("way", "pictures", *(score.name for score in SCORES))
    for way in ways or WAYS:
        tokenizer = load_image_tokenizer(train_way(way, steps))
        codec = Codec("ours", partial(ours, tokenizer))
        for pictures in sets():
            figures = judge(codec, pictures)
            cells = [figures.judged(score) for score in SCORES]
            shown = [
                "{:.3f} ({:.3f}-{:.3f})".format(*interval(c)) if len(c) else "-" for c in cells
            ]
            table.add_row(way, pictures.name, *shown)
    Console().print(table)


if __name__ == "__main__":
    as_command(main)
