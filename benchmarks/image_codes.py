"""How many of an image tokenizer's codes are used, on pictures that training does not see.

Crops of held-out things, pages and photographs, in the shares of the recipe pictures-65k. Beside
the share of codes that came up at all stands what as many vectors would show if every code were as
likely.

    python -m benchmarks.image_codes MODEL [NUM_VECTORS]
"""

from __future__ import annotations

import click
import numpy as np
import torch
from rich.progress import track

from benchmarks import as_command
from quintet.data.picture_bank import Mixture
from quintet.tokenizers.image import ImageTokenizer, to_images
from quintet.tokenizers.image_folder import load_image_tokenizer
from quintet.tokenizers.quantize import perplexity

CROP, LARGEST, PAGES, PHOTOGRAPHS = 96, 288, 0.4, 0.25
AT_ONCE = 16  # crops
SEED = 78


def codes_of(tokenizer: ImageTokenizer, count: int) -> torch.Tensor:
    """At least `count` ids [N] of held-out crops."""
    mixture = Mixture(CROP, LARGEST, PAGES, PHOTOGRAPHS)
    sources = mixture.sources("test")
    per_crop = (CROP // tokenizer.config.patch) ** 2
    ids: list[torch.Tensor] = []
    for start in track(range(0, -(-count // per_crop), AT_ONCE), "pictures", transient=True):
        crops = []
        for index in range(start, start + AT_ONCE):
            rng = np.random.default_rng((SEED, index, 2))
            crops.append(sources[mixture.choose(rng)](rng))
        ids.append(tokenizer.encode(to_images(np.stack(crops))).flatten())
    return torch.cat(ids)[:count]


@click.command()
@click.argument("model")
@click.argument("count", metavar="NUM_VECTORS", type=click.IntRange(1), default=1_048_576)
def main(model: str, count: int) -> None:
    """Print the figures."""
    torch.set_num_threads(1)
    tokenizer = load_image_tokenizer(model)
    size = tokenizer.config.codebook_size
    ids = codes_of(tokenizer, count)
    used = len(ids.unique()) / size
    print(
        f"{len(ids):,} held-out vectors: {used:.1%} of {size:,} codes used (evenly drawn: "
        f"{1 - np.exp(-len(ids) / size):.1%}), perplexity {perplexity(ids, size):,.0f}"
    )


if __name__ == "__main__":
    as_command(main)
