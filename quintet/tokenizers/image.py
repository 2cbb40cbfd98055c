"""The image tokenizer: pictures <-> a grid of codes (VQ-VAE / VQ-GAN family, Esser et al. 2021).

A convolutional encoder whose strides multiply to 6, one codebook, and the mirrored decoder.
Sizes come from `ImageConfig`; 768 x 768 -> 128 x 128 [ref] is one setting of them. The network is
convolutional all through and normalizes each pixel by itself, so that one tokenizer serves
pictures of any size, a large one can be taken in tiles with the same result, and a token changes
the picture only around its place. VQ-GAN's attention in the middle would give all of that up.

Shapes: B batch, C channels, H and W pixels, R rows and G columns of tokens, D = latent_dim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintet.config import GROUP_CHANNELS, ImageConfig, UserError
from quintet.tokenizers.inputs import check_tensor, entries_of, holds_integers
from quintet.tokenizers.quantize import VectorQuantizer
from quintet.tokenizers.tiles import Tiling

# Of the codebook, in vectors: many in a picture are alike, so that the averages look back over a
# hundred batches or so, or over 14 vectors a code, whichever is longer; likewise the patience.
MEMORY, PATIENCE = 200_000, 80_000
# Tokens on a side of what goes through the layers at once, without what surrounds it: the reference
# does 1.4 times the work of the whole there (with 32, 2.3 times), and holds 0.1 GB a layer.
TILE = 64
TOLERANCE = 1e-3  # of values outside [0, 1], for what rounding does


class PixelNorm(nn.LayerNorm):
    """Normalizes the channels of each pixel: LayerNorm over C of [B, C, H, W]."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _norm(dim: int, kind: str) -> nn.Module:
    return PixelNorm(dim) if kind == "pixel" else nn.GroupNorm(dim // GROUP_CHANNELS, dim)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a skip."""

    def __init__(self, dim: int, normalization: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _norm(dim, normalization), nn.SiLU(), nn.Conv2d(dim, dim, 3, padding=1),
            _norm(dim, normalization), nn.SiLU(), nn.Conv2d(dim, dim, 3, padding=1),
        )  # fmt: skip

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.layers(x_BCHW)


def build_encoder(config: ImageConfig) -> nn.Sequential:
    """[B, 3, H, W] -> [B, D, R, G]."""
    dims = [config.channels * m for m in config.channel_multipliers]
    layers: list[nn.Module] = [nn.Conv2d(3, dims[0], 3, padding=1)]
    for dim, next_dim, stride in zip(dims[:-1], dims[1:], config.strides, strict=True):
        layers += [ResidualBlock(dim, config.normalization) for _ in range(config.residual_blocks)]
        layers += [nn.Conv2d(dim, next_dim, stride + 2, stride, padding=1)]
    layers += _blocks(dims[-1], config.residual_blocks + 1, config)
    layers += [_norm(dims[-1], config.normalization), nn.SiLU()]
    layers += [nn.Conv2d(dims[-1], config.latent_dim, 1)]
    return nn.Sequential(*layers)


def build_decoder(config: ImageConfig) -> nn.Sequential:
    """[B, D, R, G] -> [B, 3, H, W]."""
    dims = [config.channels * m for m in reversed(config.channel_multipliers)]
    layers: list[nn.Module] = [nn.Conv2d(config.latent_dim, dims[0], 3, padding=1)]
    layers += _blocks(dims[0], config.residual_blocks + 1, config)
    for dim, next_dim, stride in zip(dims[:-1], dims[1:], reversed(config.strides), strict=True):
        layers += [nn.Upsample(scale_factor=stride), nn.Conv2d(dim, next_dim, 3, padding=1)]
        layers += _blocks(next_dim, config.residual_blocks, config)
    layers += [_norm(dims[-1], config.normalization), nn.SiLU()]
    layers += [nn.Conv2d(dims[-1], 3, 3, padding=1)]
    return nn.Sequential(*layers)


def _blocks(dim: int, count: int, config: ImageConfig) -> list[nn.Module]:
    return [ResidualBlock(dim, config.normalization) for _ in range(count)]


def reach(config: ImageConfig) -> int:
    """Tokens beyond its own that a token's pixels can depend on, or its code on pixels of."""
    blocks, pixels, width = config.residual_blocks, 1.0, 1
    for stride in config.strides:
        # At this width: the blocks' convolutions, and that which changes the width.
        pixels += width * (2 * blocks + 1)
        width *= stride
    return math.ceil((pixels + width * (2 * (blocks + 1) + 1)) / width) + 1


def to_images(pixels_BHW3: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> float [B, 3, H, W] in [0, 1]."""
    return torch.tensor(pixels_BHW3).permute(0, 3, 1, 2).float() / 255


def to_pixels(images_BCHW: Tensor) -> np.ndarray:
    """And back, rounded and clipped."""
    pixels = (images_BCHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    made: np.ndarray = pixels.cpu().numpy()
    return made


class ImageTokenizer(nn.Module):
    """Pictures in [0, 1], [B, 3, H, W] <-> ids [B, R, G], for any H and W that are multiples of
    `config.patch`."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        codes = config.codebook_size
        self.quantizer = VectorQuantizer(
            codes, config.latent_dim, max(14.0, MEMORY / codes), max(6.0, PATIENCE / codes)
        )
        self.decoder = build_decoder(config)

    @torch.no_grad()
    def encode(self, images_BCHW: Tensor) -> Tensor:
        """Ids [B, R, G], int64.

        Raises:
            UserError: `images_BCHW` is not [B, 3, H, W] of floating-point values in [0, 1] with
                sides that are multiples of the patch.
        """
        self._check_images(images_BCHW)
        images_BCHW = images_BCHW.to(self.quantizer.codebook.dtype)  # NumPy's are float64
        latents_BDRG = self._tiling(self.config.patch, 1).apply(self.latents, images_BCHW)
        batch, width, rows, columns = latents_BDRG.shape
        vectors_ND = latents_BDRG.permute(0, 2, 3, 1).reshape(-1, width)
        return self.quantizer.search(vectors_ND).reshape(batch, rows, columns)

    @torch.no_grad()
    def decode(self, ids_BRG: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1].

        Raises:
            UserError: `ids_BRG` is not [B, R, G] of integers, or holds ids that the codebook does
                not have.
        """
        ids_BRG = self._checked(ids_BRG)
        latents_BDRG = self.quantizer.codebook[ids_BRG].permute(0, 3, 1, 2)
        return self._tiling(1, self.config.patch).apply(self._draw, latents_BDRG)

    @torch.no_grad()
    def preview(self, ids: Sequence[int], grid: tuple[int, int] | None = None) -> Tensor:
        """A picture [3, H, W] of which only the first `ids`, row by row, are known; what is not
        known stays white.

        Args:
            grid: rows and columns of the finished picture; that of `config.size` by default.

        Raises:
            UserError: there are more ids than places, or ids that the codebook does not have.
        """
        rows, columns = grid or (self.config.grid, self.config.grid)
        known, side = len(ids), self.config.patch
        if min(rows, columns) < 1 or known > rows * columns:
            raise UserError(
                f"{known:,} ids do not fit into {rows:,} x {columns:,} tokens; give a larger grid."
            )
        picture_CHW = torch.ones(3, rows * side, columns * side)
        if not known:
            return picture_CHW
        # The pixels beside what is not known yet depend on it: what goes on as it is does least
        # harm. So each unknown token is that above it; in the first row, the last one known.
        begun = -(-known // columns)  # rows
        seen = min(rows, begun + reach(self.config)) if self._is_local else rows
        tokens_N = torch.tensor([*ids, *[ids[-1]] * max(0, columns - known)])
        column_T = torch.arange(seen * columns) % columns
        last_row = (len(tokens_N) - 1 - column_T) // columns  # of what is known in each column
        row_T = torch.minimum(torch.arange(seen * columns) // columns, last_row)
        filled_RG = tokens_N[row_T * columns + column_T].view(seen, columns)
        shown = (torch.arange(seen * columns) < known).view(1, 1, seen, columns).float()
        shown = F.interpolate(shown, scale_factor=side)[0]
        made_CHW = self.decode(filled_RG[None])[0] * shown + (1 - shown)
        picture_CHW[:, : seen * side] = made_CHW
        return picture_CHW

    @property
    def _is_local(self) -> bool:
        """Whether a token changes the picture only around its place."""
        return self.config.normalization == "pixel"

    def _tiling(self, cell_in: int, cell_out: int) -> Tiling:
        """None, in effect, where normalization looks at the whole picture."""
        tile = TILE if self._is_local else 1 << 30
        return Tiling(tile, reach(self.config), cell_in, cell_out)

    def latents(self, images_BCHW: Tensor) -> Tensor:
        """What is quantized, [B, D, R, G]."""
        # The layout in which convolutions of few channels are twice as fast on a CPU.
        images_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last)
        return self.encoder(images_BCHW * 2 - 1).float()

    def _draw(self, latents_BDRG: Tensor) -> Tensor:
        drawn_BCHW = self.decoder(latents_BDRG.contiguous(memory_format=torch.channels_last))
        return (drawn_BCHW.float() / 2 + 0.5).clamp(0, 1)

    def _check_images(self, images_BCHW: Tensor) -> None:
        check_tensor(images_BCHW, "The pictures to encode", "floating-point values from 0 to 1")
        shaped = images_BCHW.ndim == 4 and images_BCHW.shape[1] == 3 and len(images_BCHW) > 0
        if not shaped or not images_BCHW.is_floating_point():
            raise UserError(
                f"The pictures to encode are {images_BCHW.dtype} of shape "
                f"{list(images_BCHW.shape)}; give floating-point values from 0 to 1 as "
                "[batch, 3, height, width]."
            )
        side = self.config.patch
        if any(length % side or not length for length in images_BCHW.shape[-2:]):
            raise UserError(
                f"The pictures have {images_BCHW.shape[-2]:,} rows of {images_BCHW.shape[-1]:,} "
                f"pixels; fit both to multiples of {side}."
            )
        if not images_BCHW.isfinite().all():
            raise UserError("The pictures hold values that are not numbers; replace them.")
        least, most = float(images_BCHW.min()), float(images_BCHW.max())
        if least < -TOLERANCE or most > 1 + TOLERANCE:
            raise UserError(
                f"The pictures hold values from {least:.4g} to {most:.4g}, not from 0 to 1; divide "
                "pixels of up to 255 by 255, and clamp what resizing left outside."
            )

    def _checked(self, ids_BRG: Tensor) -> Tensor:
        """The ids as int64, of whatever integers they were."""
        check_tensor(ids_BRG, "The ids to decode", "integers")
        if ids_BRG.ndim != 3 or not holds_integers(ids_BRG) or not ids_BRG.numel():
            raise UserError(
                f"The ids to decode are {ids_BRG.dtype} of shape {list(ids_BRG.shape)}; give "
                "integers as [batch, rows, columns]."
            )
        return entries_of(ids_BRG, self.config.codebook_size, "The ids", "tokenizer")

    def forward(self, images_BCHW: Tensor, quantize: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """For training: reconstruction [B, 3, H, W] (not clamped), ids [B * R * G] (empty
        without `quantize`) and the commitment loss."""
        latents_BDRG = self.latents(images_BCHW)
        ids, commitment = torch.empty(0), images_BCHW.new_zeros(())
        if quantize:
            batch, width, rows, columns = latents_BDRG.shape
            vectors_ND = latents_BDRG.permute(0, 2, 3, 1).reshape(-1, width)
            with torch.autocast(vectors_ND.device.type, enabled=False):
                vectors_ND, ids, commitment = self.quantizer(vectors_ND)
            latents_BDRG = vectors_ND.reshape(batch, rows, columns, width).permute(0, 3, 1, 2)
        latents_BDRG = latents_BDRG.contiguous(memory_format=torch.channels_last)
        return self.decoder(latents_BDRG).float() / 2 + 0.5, ids, commitment
