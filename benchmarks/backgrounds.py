"""What a model sees before one plain colour: each thing, upright, centred, "what is this?" typed.

No split of the world has these: they are what people try first.

    python -m benchmarks.backgrounds [MODEL]
"""

from __future__ import annotations

import click
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks import as_command
from quintet.data.world.things import THINGS, Thing
from quintet.evals.live_scores import names_only
from quintet.live import Quintet, load
from quintet.media.emoji import render_emoji

COLOURS = {
    "white": (255, 255, 255), "cream": (255, 253, 208), "yellow": (255, 255, 0),
    "pink": (255, 228, 225), "light green": (204, 255, 204), "light blue": (204, 229, 255),
    "light grey": (235, 235, 235), "grey": (128, 128, 128), "navy": (0, 0, 80),
    "dark grey": (40, 40, 40), "black": (0, 0, 0),
}  # fmt: skip
SHARES = (0.9, 0.6, 0.4)  # of the picture's side that the thing fills
SIDE = 96  # pixels


def picture(thing: Thing, colour: tuple[int, int, int], share: float) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3]: the thing before one colour."""
    emoji = render_emoji(thing.emoji)
    scale = share * SIDE / max(emoji.size)
    size = (round(emoji.width * scale), round(emoji.height * scale))
    emoji = emoji.resize(size, Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (SIDE, SIDE), colour)
    canvas.paste(emoji, ((SIDE - emoji.width) // 2, (SIDE - emoji.height) // 2), emoji)
    return np.asarray(canvas)


def named(model: Quintet, colour: tuple[int, int, int], share: float) -> int:
    """How many of all things it names before `colour`."""
    right = 0
    for thing in THINGS:
        asked = [picture(thing, colour, share), "what is this?"]
        right += names_only(model.chat([{"role": "user", "content": asked}]).text, thing.name)
    return right


@click.command()
@click.argument("model", default="nano")
def main(model: str) -> None:
    """Print how many things are named before each colour."""
    torch.set_num_threads(1)
    system = load(model)
    table = Table("background", *(f"{share:.0%} of the side" for share in SHARES))
    totals = [0] * len(SHARES)
    for name, colour in COLOURS.items():
        right = [named(system, colour, share) for share in SHARES]
        totals = [total + count for total, count in zip(totals, right, strict=True)]
        table.add_row(name, *map(str, right))
    shown = len(COLOURS) * len(THINGS)
    table.add_row(f"of {shown}", *(f"{total} ({total / shown:.0%})" for total in totals))
    Console().print(table)


if __name__ == "__main__":
    as_command(main)
