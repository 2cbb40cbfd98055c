"""How alike pictures are: peak signal-to-noise ratio, and structural similarity (SSIM, Wang et
al. 2004) at several scales.

Shapes: B batch, C channels, H and W pixels in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 7  # pixels on a side, all of one weight
BRIGHTNESS, CONTRAST = 0.01**2, 0.03**2  # the paper's constants, for a range of 1


def psnr(made_BCHW: Tensor, real_BCHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture [B] in decibels, at most 100."""
    error_B = (made_BCHW.clamp(0, 1) - real_BCHW).square().mean((1, 2, 3))
    return -10 * torch.log10(error_B.clamp(min=1e-10))


def structural_similarity(made_BCHW: Tensor, real_BCHW: Tensor) -> Tensor:
    """Mean SSIM of each picture [B], in float32; 1 where both are equal.

    With a square window and the unbiased variances, as scikit-image computes it by default. For
    pictures smaller than the window, it is as large as they are.
    """
    window = (min(WINDOW, made_BCHW.shape[-2]), min(WINDOW, made_BCHW.shape[-1]))
    size = window[0] * window[1]

    def mean(x_BCHW: Tensor) -> Tensor:
        return F.avg_pool2d(x_BCHW, window, 1)

    x, y = made_BCHW.float(), real_BCHW.float()
    mean_x, mean_y = mean(x), mean(y)
    unbiased = size / max(1, size - 1)  # one pixel varies by 0
    variance_x = unbiased * (mean(x * x) - mean_x.square())
    variance_y = unbiased * (mean(y * y) - mean_y.square())
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    brightness = (2 * mean_x * mean_y + BRIGHTNESS) / (
        mean_x.square() + mean_y.square() + BRIGHTNESS
    )
    contrast = (2 * covariance + CONTRAST) / (variance_x + variance_y + CONTRAST)
    return (brightness * contrast).mean((1, 2, 3))


def structure_loss(made_BCHW: Tensor, real_BCHW: Tensor, scales: int = 3) -> Tensor:
    """One less the mean SSIM over `scales`, each half as large as the one before."""
    distances = []
    for scale in range(scales):
        if scale:
            if min(made_BCHW.shape[-2:]) < 2 * WINDOW:
                break
            made_BCHW, real_BCHW = F.avg_pool2d(made_BCHW, 2), F.avg_pool2d(real_BCHW, 2)
        distances.append(1 - structural_similarity(made_BCHW, real_BCHW).mean())
    return torch.stack(distances).mean()
