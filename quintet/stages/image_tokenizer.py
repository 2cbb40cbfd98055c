"""The image tokenizer's stage: a VQ-GAN learns to rebuild pictures, text and photographs.

As with sound, it first trains without the bottleneck; then the codebook is filled from the
encoder's outputs and everything trains together; at last, where the recipe asks for it, against
a discriminator. What is kept are the averages of the weights over the last steps. The network is
convolutional, so that it learns from crops what serves pictures of any size.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from quintet import train
from quintet.config import ImageConfig, UserError
from quintet.data import photographs
from quintet.data.picture_bank import Mixture, held_out_crops, picture_bank
from quintet.data.world.pictures import canonical_picture
from quintet.data.world.things import THINGS
from quintet.settings import Count, Natural, Range, Share, ShareBelowOne, Weight
from quintet.stages.context import Context, check_filling
from quintet.stages.image_losses import STRUCTURE, PictureLosses, show_pictures
from quintet.tokenizers.folders import IMAGE_FILE, write_config
from quintet.tokenizers.image import ImageTokenizer, to_images
from quintet.tokenizers.image_folder import KIND
from quintet.tokenizers.quantize import perplexity
from quintet.tokenizers.weight_files import load_weights
from quintet.train import Task, TrainConfig
from quintet.train.adversarial import alone
from quintet.train.average import average_of
from quintet.train.structure import psnr

SETTINGS = {
    "train": TrainConfig, "start_from": str,
    "pictures": Count, "held_out_pictures": Count, "crop": Count, "largest": Count,
    "pages": ShareBelowOne, "photographs": ShareBelowOne, "photograph_folder": str,
    "plain": ShareBelowOne, "small_text": Annotated[float, Range(0.1, 10)],
    "fill_at": ShareBelowOne, "adversarial_at": Share, "discriminator_channels": Natural,
    "structure": Weight,
}  # fmt: skip
FILL_VECTORS, LEAST_VECTORS = 4, 4_096  # encoder outputs that fill the codebook: a code, in all
COMMITMENT = 0.25  # weight of the pull of the encoder towards the codes
HELD_OUT, SHOWN = 96, 4  # pictures of each source
DRAWING_TOKENS = 12  # on a side of a drawing that is judged
LEAST_JUDGED = 24  # pixels on a side of what the discriminator sees


@dataclass(frozen=True)
class ImageSettings:
    """How the tokenizer trains, beside its `TrainConfig`; steps are counted from 0."""

    fill_step: int  # when the codebook is filled and the bottleneck closes; -1: it is full
    adversarial_step: int = 1 << 30  # when the discriminator sets in
    discriminator_channels: int = 0  # none
    structure: float = STRUCTURE  # weight of the structural loss


class ImageTraining(nn.Module):
    """The tokenizer, its average over the last steps, and the losses' own parts."""

    def __init__(self, config: ImageConfig, settings: ImageSettings) -> None:
        super().__init__()
        self.tokenizer = ImageTokenizer(config)
        self.average = average_of(self.tokenizer)
        self.picture = PictureLosses(settings.discriminator_channels, settings.structure)


class ImageTokenizerTask(Task):
    """Crops of pictures -> VQ-GAN -> the crops.

    Args:
        pictures: uint8 [N, H, W, 3], to train on.
        held_out: of each source, likewise.
    """

    def __init__(
        self,
        config: ImageConfig,
        settings: ImageSettings,
        pictures: np.ndarray,
        held_out: dict[str, np.ndarray],
        batch_size: int,
        seed: int,
        start_from: Path | None = None,
    ) -> None:
        self.config, self.settings, self.start_from = config, settings, start_from
        self.pictures, self.held_out = pictures, held_out
        self.batch_size, self.seed = batch_size, seed

    def record(self) -> dict[str, Any]:
        return asdict(self.settings) | {
            "image": asdict(self.config),
            "bank": hashlib.sha256(self.pictures.data).hexdigest(),
            "start_from": str(self.start_from),
        }

    def module(self) -> nn.Module:
        module = ImageTraining(self.config, self.settings)
        if self.start_from is not None:
            load_weights(module.tokenizer, self.start_from)
            module.average.module.load_state_dict(module.tokenizer.state_dict())
        return module

    def parameters(self, module: nn.Module) -> list[dict[str, Any]]:
        assert isinstance(module, ImageTraining)
        groups: list[dict[str, Any]] = [{"params": list(module.tokenizer.parameters())}]
        adversary = list(module.picture.parameters())
        return groups + [{"params": adversary, "part": "discriminator"}] * bool(adversary)

    def _chosen(self, step: int) -> np.ndarray:
        """Which pictures are the batch of `step`."""
        rng = np.random.default_rng((self.seed, step))
        return rng.integers(len(self.pictures), size=self.batch_size)

    def batch(self, step: int) -> Tensor:
        """Pictures [B, 3, H, W]."""
        return to_images(self.pictures[self._chosen(step)])

    def describe_batch(self, step: int) -> str:
        chosen = ", ".join(map(str, sorted(self._chosen(step).tolist())))
        return f"pictures {chosen} of the {len(self.pictures):,} to train on"

    def before_step(self, module: nn.Module, step: int) -> None:
        assert isinstance(module, ImageTraining)
        if step == self.settings.fill_step:
            module.tokenizer.quantizer.fill(self.outputs(module.tokenizer, step))
        module.average.update_parameters(module.tokenizer)

    @torch.no_grad()
    def outputs(self, tokenizer: ImageTokenizer, step: int) -> Tensor:
        """Latent vectors [N, D] of pictures that belong to no step, enough to fill the codebook."""
        needed = max(LEAST_VECTORS, FILL_VECTORS * self.config.codebook_size)
        vectors: list[Tensor] = []
        while sum(map(len, vectors)) < needed:
            images_BCHW = self.batch(step + 1_000_000 + len(vectors))
            latents_BDRG = tokenizer.latents(images_BCHW)
            vectors.append(latents_BDRG.permute(0, 2, 3, 1).flatten(0, 2))
        return torch.cat(vectors)

    def losses(self, module: nn.Module, batch: Tensor, step: int) -> dict[str, Tensor]:
        assert isinstance(module, ImageTraining)
        settings = self.settings
        made, _, commitment = module.tokenizer(batch, quantize=step >= settings.fill_step)
        adversarial = bool(settings.discriminator_channels) and step >= settings.adversarial_step
        losses = module.picture(made, batch, adversarial, step)
        losses["commitment"] = commitment
        losses["loss"] = losses["picture"] + COMMITMENT * commitment
        if "discriminator" in losses:
            losses["loss"] = losses["loss"] + alone(losses["discriminator"])
        return losses

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        """On what training never shows: backgrounds and sizes, fonts, photographs. Drawings have
        nothing of the kind: all were seen."""
        assert isinstance(module, ImageTraining)
        tokenizer, scores, codes = module.average.module, {}, []
        for name, pictures in self.held_out.items():
            scores[f"psnr_{name}"], ids = self._judge(tokenizer, pictures)
            codes.append(ids)
        size = DRAWING_TOKENS * self.config.patch
        drawn = np.stack([canonical_picture(thing, size) for thing in THINGS])
        scores["psnr_of_drawings_seen_in_training"], _ = self._judge(tokenizer, drawn)
        ids, entries = torch.cat(codes), self.config.codebook_size
        scores["perplexity"] = perplexity(ids, entries)
        scores["used"] = len(ids.unique()) / entries
        scores["used_if_drawn_evenly"] = 1 - (1 - 1 / entries) ** len(ids)
        return scores

    def _judge(self, tokenizer: nn.Module, pictures: np.ndarray) -> tuple[float, Tensor]:
        """Mean PSNR, and the ids [N]; a batch at a time, for pictures may be large."""
        scores, codes = [], []
        for start in range(0, len(pictures), self.batch_size):
            real = to_images(pictures[start : start + self.batch_size])
            made, ids, _ = tokenizer(real)
            scores.append(psnr(made, real))
            codes.append(ids)
        return float(torch.cat(scores).mean()), torch.cat(codes)

    def show(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, ImageTraining)
        shown = np.concatenate([pictures[:SHOWN] for pictures in self.held_out.values()])
        real = to_images(shown)
        show_pictures(folder, real, module.average.module(real)[0])

    def export(self, module: nn.Module, folder: Path) -> None:
        """A folder that `load_image_tokenizer` reads."""
        assert isinstance(module, ImageTraining)
        save_file(module.average.module.state_dict(), folder / IMAGE_FILE)
        write_config({"kind": KIND, "image": asdict(self.config)}, folder)


def run(context: Context) -> dict[str, float]:
    """Train the image tokenizer of the preset."""
    check(context)
    config, settings = context.train, context.settings
    start, mixture = settings.get("start_from"), _mixture(context)
    start_from = context.made_by(start, IMAGE_FILE) if start is not None else None
    task = ImageTokenizerTask(
        context.preset.image,
        _image_settings(context),
        picture_bank(
            context.run_folder / "pictures", mixture, settings.get("pictures", 20_000), config.seed
        ),
        held_out_crops(mixture, settings.get("held_out_pictures", HELD_OUT), config.seed),
        config.batch_size,
        config.seed,
        start_from,
    )
    return train.run(task, config, context.folder, context.name)


def _mixture(context: Context) -> Mixture:
    settings = context.settings
    crop = settings.get("crop", context.preset.image.size)
    return Mixture(
        crop, settings.get("largest", crop),
        settings.get("pages", 0.0), settings.get("photographs", 0.0),
        settings.get("photograph_folder"),
        settings.get("plain", 0.0), settings.get("small_text", 1.0),
    )  # fmt: skip


def _image_settings(context: Context) -> ImageSettings:
    settings, steps = context.settings, context.train.steps
    return ImageSettings(
        round(steps * settings.get("fill_at", 0.1)) if "start_from" not in settings else -1,
        round(steps * settings.get("adversarial_at", 0.6)),
        settings.get("discriminator_channels", 0),
        settings.get("structure", STRUCTURE),
    )


def needs(context: Context) -> None:
    """What it trains on and is judged by is here.

    Raises:
        UserError: photographs are missing, or the folder of a person's own.
    """
    mixture = _mixture(context)
    if mixture.photograph_folder:
        photographs.files_in(mixture.photograph_folder)
    if mixture.photographs:
        for split in ("train", "test"):
            photographs.photograph_files(split)


def check(context: Context) -> None:
    """What a recipe can have wrong that no setting shows by itself.

    Raises:
        UserError: it has.
    """
    mixture, settings, patch = (
        _mixture(context),
        _image_settings(context),
        context.preset.image.patch,
    )
    crop, largest = mixture.crop, mixture.largest
    if crop < patch or crop % patch:
        raise UserError(f"crop is {crop}; make it {patch}, or a larger multiple of {patch}.")
    if largest < crop:
        raise UserError(
            f"largest is {largest} and crops of {crop} pixels are cut from such pictures; make it "
            f"at least {crop}."
        )
    if settings.discriminator_channels and crop < LEAST_JUDGED:
        raise UserError(f"crop is {crop}; a discriminator needs {LEAST_JUDGED} or more.")
    check_filling(settings.fill_step, context.train.steps)
