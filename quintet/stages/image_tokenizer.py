"""The image tokenizer's stage: a VQ autoencoder learns the world's pictures.

As with sound, it first trains without the bottleneck; then the codebook is filled from the
encoder's outputs and everything trains together.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from quintet import train
from quintet.config import ImageConfig
from quintet.data.world.pictures import canonical_picture, render_picture
from quintet.data.world.things import THINGS
from quintet.stages.context import Context
from quintet.tokenizers.image import ImageTokenizer
from quintet.tokenizers.quantize import perplexity
from quintet.train import Task

SETTINGS = ("train", "pictures", "fill_at")
FILL_VECTORS = 16  # encoder outputs per code when the codebook is filled
DRAWN_SHARE = 0.25  # of the pictures: as the assistant draws them
HELD_OUT_PICTURES = 256


def render_pictures(count: int, size: int, seed: int, split: str) -> np.ndarray:
    """uint8 [count, size, size, 3]: seen things and, in training, some drawn ones."""
    rng = np.random.default_rng((seed, split == "test"))
    pictures = []
    for _ in range(count):
        thing = THINGS[int(rng.integers(len(THINGS)))]
        drawn = split == "train" and rng.random() < DRAWN_SHARE
        pictures.append(
            canonical_picture(thing, size) if drawn else render_picture(thing, rng, split, size)
        )
    return np.stack(pictures)


def as_input(pictures_BHWC: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> float [B, 3, H, W] in [0, 1]."""
    return torch.from_numpy(pictures_BHWC).permute(0, 3, 1, 2).float() / 255


def edges(images_BCHW: Tensor) -> Tensor:
    """Differences between neighbouring pixels, across then down, flattened."""
    across = (images_BCHW[..., 1:] - images_BCHW[..., :-1]).flatten(1)
    down = (images_BCHW[..., 1:, :] - images_BCHW[..., :-1, :]).flatten(1)
    return torch.cat([across, down], dim=1)


def psnr(made_BCHW: Tensor, real_BCHW: Tensor) -> float:
    """Mean peak signal-to-noise ratio in decibels."""
    error_B = (made_BCHW.clamp(0, 1) - real_BCHW).square().mean((1, 2, 3))
    return float((-10 * torch.log10(error_B)).mean())


class ImageTokenizerTask(Task):
    """Pictures -> VQ autoencoder with pixel and edge losses."""

    def __init__(
        self, config: ImageConfig, pictures: int, batch_size: int, seed: int, fill_step: int
    ) -> None:
        self.config, self.batch_size, self.seed, self.fill_step = (
            config, batch_size, seed, fill_step
        )  # fmt: skip
        self.pictures = render_pictures(pictures, config.size, seed, "train")
        self.held_out = render_pictures(HELD_OUT_PICTURES, config.size, seed, "test")

    def module(self) -> nn.Module:
        return ImageTokenizer(self.config)

    def batch(self, step: int) -> Tensor:
        """Pictures [B, 3, H, W]."""
        rng = np.random.default_rng((self.seed, step))
        return as_input(self.pictures[rng.integers(len(self.pictures), size=self.batch_size)])

    def before_step(self, module: nn.Module, step: int) -> None:
        if step != self.fill_step:
            return
        assert isinstance(module, ImageTokenizer)
        needed = FILL_VECTORS * self.config.codebook_size // self.config.num_tokens + 1
        with torch.no_grad():
            latents_BDGG = module.encoder(as_input(self.pictures[:needed]) * 2 - 1)
        module.quantizer.fill(latents_BDGG.permute(0, 2, 3, 1).reshape(-1, latents_BDGG.shape[1]))

    def losses(self, module: nn.Module, batch: Tensor, step: int) -> dict[str, Tensor]:
        made, _, commitment = module(batch, quantize=step >= self.fill_step)
        pixel = (made - batch).abs().mean() + 2 * F.mse_loss(made, batch)
        edge = (edges(made) - edges(batch)).abs().mean()
        return {
            "loss": pixel + edge + 0.25 * commitment,
            "pixel": pixel,
            "edge": edge,
            "commitment": commitment,
        }

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """On backgrounds and sizes kept out of training; drawings have neither: all were seen."""
        drawn = np.stack([canonical_picture(thing, self.config.size) for thing in THINGS])
        made, ids, _ = module(as_input(self.held_out))
        return {
            "psnr": psnr(made, as_input(self.held_out)),
            "psnr_of_drawings_seen_in_training": psnr(module(as_input(drawn))[0], as_input(drawn)),
            "perplexity": perplexity(ids, self.config.codebook_size),
            "used": len(ids.unique()) / self.config.codebook_size,
        }

    def export(self, module: nn.Module, folder: Path) -> None:
        save_file(module.state_dict(), folder / "image_tokenizer.safetensors")


def run(context: Context) -> dict[str, float]:
    """Train the image tokenizer of the preset."""
    config = context.train
    task = ImageTokenizerTask(
        context.preset.image,
        context.settings.get("pictures", 20_000),
        config.batch_size,
        config.seed,
        round(config.steps * context.settings.get("fill_at", 0.3)),
    )
    return train.run(task, config, context.folder, context.name)
