"""The image tokenizer: pictures <-> a grid of codes (VQ-VAE / VQ-GAN family, Esser et al. 2021).

A convolutional encoder whose strides multiply to 6, one codebook, and the mirrored decoder.
Sizes come from `ImageConfig`; 768 x 768 -> 128 x 128 [ref] is one setting of them.

Shapes: B batch, C channels, H and W pixels, G tokens on a side, D = latent_dim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintet.config import ImageConfig
from quintet.tokenizers.quantize import VectorQuantizer

GROUP = 8  # channels normalized together
MEMORY, PATIENCE = 200.0, 80.0  # of the codebook: a picture has many vectors that are alike


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a skip."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(dim // GROUP, dim), nn.SiLU(), nn.Conv2d(dim, dim, 3, padding=1),
            nn.GroupNorm(dim // GROUP, dim), nn.SiLU(), nn.Conv2d(dim, dim, 3, padding=1),
        )  # fmt: skip

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.layers(x_BCHW)


def build_encoder(config: ImageConfig) -> nn.Sequential:
    """[B, 3, H, W] -> [B, D, G, G]."""
    dims = [config.channels * m for m in config.channel_multipliers]
    layers: list[nn.Module] = [nn.Conv2d(3, dims[0], 3, padding=1)]
    for dim, next_dim, stride in zip(dims[:-1], dims[1:], config.strides, strict=True):
        layers += [ResidualBlock(dim) for _ in range(config.residual_blocks)]
        layers += [nn.Conv2d(dim, next_dim, stride + 2, stride, padding=1)]
    layers += [ResidualBlock(dims[-1]) for _ in range(config.residual_blocks + 1)]
    layers += [nn.GroupNorm(dims[-1] // GROUP, dims[-1]), nn.SiLU()]
    layers += [nn.Conv2d(dims[-1], config.latent_dim, 1)]
    return nn.Sequential(*layers)


def build_decoder(config: ImageConfig) -> nn.Sequential:
    """[B, D, G, G] -> [B, 3, H, W]."""
    dims = [config.channels * m for m in reversed(config.channel_multipliers)]
    layers: list[nn.Module] = [nn.Conv2d(config.latent_dim, dims[0], 3, padding=1)]
    layers += [ResidualBlock(dims[0]) for _ in range(config.residual_blocks + 1)]
    for dim, next_dim, stride in zip(dims[:-1], dims[1:], reversed(config.strides), strict=True):
        layers += [nn.Upsample(scale_factor=stride), nn.Conv2d(dim, next_dim, 3, padding=1)]
        layers += [ResidualBlock(next_dim) for _ in range(config.residual_blocks)]
    layers += [nn.GroupNorm(dims[-1] // GROUP, dims[-1]), nn.SiLU()]
    layers += [nn.Conv2d(dims[-1], 3, 3, padding=1)]
    return nn.Sequential(*layers)


class ImageTokenizer(nn.Module):
    """Pictures in [0, 1], [B, 3, H, W] <-> ids [B, G, G]."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        self.quantizer = VectorQuantizer(config.codebook_size, config.latent_dim, MEMORY, PATIENCE)
        self.decoder = build_decoder(config)

    @torch.no_grad()
    def encode(self, images_BCHW: Tensor) -> Tensor:
        """Ids [B, G, G], int64."""
        latents_BDGG = self.encoder(images_BCHW * 2 - 1)
        batch, width, rows, columns = latents_BDGG.shape
        vectors_ND = latents_BDGG.permute(0, 2, 3, 1).reshape(-1, width)
        return self.quantizer.search(vectors_ND).reshape(batch, rows, columns)

    @torch.no_grad()
    def decode(self, ids_BGG: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1]."""
        return self._draw(self.quantizer.codebook[ids_BGG])

    @torch.no_grad()
    def preview(self, ids: list[int]) -> Tensor:
        """A picture [3, H, W] of which only the first `ids` are known; the rest stays white."""
        grid, known = self.config.grid, len(ids)
        filled = torch.zeros(grid * grid, dtype=torch.long)
        filled[:known] = torch.tensor(ids, dtype=torch.long)
        picture_CHW = self.decode(filled.view(1, grid, grid))[0]
        shown = (torch.arange(grid * grid) < known).float().view(1, 1, grid, grid)
        shown = F.interpolate(shown, size=picture_CHW.shape[-2:])[0]
        return picture_CHW * shown + (1 - shown)

    def _draw(self, latents_BGGD: Tensor) -> Tensor:
        drawn_BCHW = self.decoder(latents_BGGD.permute(0, 3, 1, 2))
        return (drawn_BCHW / 2 + 0.5).clamp(0, 1)

    def forward(self, images_BCHW: Tensor, quantize: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """For training: reconstruction [B, 3, H, W] (not clamped), ids [B * G * G] (empty
        without `quantize`) and the commitment loss."""
        latents_BDGG = self.encoder(images_BCHW * 2 - 1).float()
        ids, commitment = torch.empty(0), images_BCHW.new_zeros(())
        if quantize:
            batch, width, rows, columns = latents_BDGG.shape
            vectors_ND = latents_BDGG.permute(0, 2, 3, 1).reshape(-1, width)
            with torch.autocast(vectors_ND.device.type, enabled=False):
                vectors_ND, ids, commitment = self.quantizer(vectors_ND)
            latents_BDGG = vectors_ND.reshape(batch, rows, columns, width).permute(0, 3, 1, 2)
        return self.decoder(latents_BDGG).float() / 2 + 0.5, ids, commitment
