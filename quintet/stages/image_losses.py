"""What the image tokenizer's stage asks of its pictures, and how a person can look at them.

There is no network to download that would know what people notice. Two things stand in for it:
structural similarity at three scales, which minds edges and textures more than brightness, and,
once the discriminator has set in, the distance between its activations (feature matching).

Shapes: B batch, C channels, H and W pixels in [0, 1].
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from quintet.media.images import write_image
from quintet.train.adversarial import Balancer, Discriminator, PatchDiscriminator
from quintet.train.structure import structure_loss

# The reconstruction's parts: mean absolute and mean squared error, and 1 - SSIM.
ABSOLUTE, SQUARED, STRUCTURE = 1.0, 2.0, 0.2
# How hard the discriminator's losses pull on the picture, beside the reconstruction.
WEIGHTS = {"adversarial": 0.2, "matching": 0.4}
LEARN_EVERY = 2  # steps: a discriminator that learns faster than the tokenizer overpowers it


class PictureLosses(nn.Module):
    """Distance of a reconstruction from the picture; later adversarial too.

    Args:
        channels: of the discriminator; 0, and there is none.
        structure: weight of the structural loss.
    """

    def __init__(self, channels: int = 0, structure: float = STRUCTURE) -> None:
        super().__init__()
        self.structure = structure
        if channels:
            self.discriminator = Discriminator([PatchDiscriminator(channels)])
            self.balancer = Balancer(WEIGHTS)

    def forward(
        self, made_BCHW: Tensor, real_BCHW: Tensor, adversarial: bool, step: int
    ) -> dict[str, Tensor]:
        """Scalars; "picture" is what the tokenizer minimizes and "discriminator" what its
        adversary does, where it learns in this step."""
        with torch.autocast(made_BCHW.device.type, enabled=False):
            difference = made_BCHW - real_BCHW
            absolute, squared = difference.abs().mean(), difference.square().mean()
            structure = structure_loss(made_BCHW, real_BCHW)
        losses = {"absolute": absolute, "squared": squared, "structure": structure}
        rebuilt = ABSOLUTE * absolute + SQUARED * squared + self.structure * structure
        if not adversarial:
            return losses | {"picture": rebuilt}
        judged, matching = self.discriminator.judge(made_BCHW, real_BCHW)
        losses |= {"adversarial": judged, "matching": matching}
        losses["picture"] = self.balancer(made_BCHW, rebuilt, losses)
        if step % LEARN_EVERY == 0:
            losses["discriminator"] = self.discriminator.loss(made_BCHW, real_BCHW)
        return losses


def show_pictures(folder: Path, real_BCHW: Tensor, made_BCHW: Tensor) -> None:
    """One picture, `pictures.png`: the originals in a row, the reconstructions below them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [torch.cat(list(pictures), dim=2) for pictures in (real_BCHW, made_BCHW.clamp(0, 1))]
    sheet_CHW = torch.cat(rows, dim=1)
    write_image(
        folder / "pictures.png", (sheet_CHW * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    )
