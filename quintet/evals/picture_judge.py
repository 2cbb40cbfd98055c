"""A classifier that judges what the model draws.

It was trained on the world's own pictures alone, never on anything that a tokenizer or the model
made.

Shapes: B batch, C channels, H = W = 48 pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from quintet.data.world.things import THINGS
from quintet.media.images import fit_image
from quintet.tokenizers.weight_files import load_weights

SIZE = 48
WEIGHTS = Path(__file__).parent / "judges" / "pictures.safetensors"


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.GroupNorm(8, channels_out),
        nn.GELU(),
        nn.Conv2d(channels_out, channels_out, 3, stride=2, padding=1),
        nn.GroupNorm(8, channels_out),
        nn.GELU(),
    )


class PictureJudge(nn.Module):
    """Pictures [B, 3, H, W] in [0, 1] -> logits [B, things]."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(3, channels), _block(channels, 2 * channels), _block(2 * channels, 4 * channels)
        )
        self.things = nn.Linear(4 * channels, len(THINGS))

    def forward(self, pictures_BCHW: Tensor) -> Tensor:
        return self.things(self.features(pictures_BCHW * 2 - 1).mean((2, 3)))

    @torch.no_grad()
    def name(self, picture: np.ndarray) -> str:
        """The thing that `picture` (uint8 [H, W, 3], any size) most looks like."""
        pixels = torch.tensor(fit_image(Image.fromarray(picture), SIZE))
        logits = self(pixels.permute(2, 0, 1)[None].float() / 255)
        return THINGS[int(logits.argmax())].name

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> PictureJudge:
        """The trained judge that comes with the package."""
        judge = cls()
        load_weights(judge, path)
        return judge.eval()
