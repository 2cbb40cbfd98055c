"""Discriminators of sound and of pictures, their losses, and a balance between losses on one
output.

Multi-scale complex-STFT discriminator, hinge losses, relative feature matching and the idea of
balancing gradients at the output: Défossez et al. 2022 (EnCodec, sections 3.3 and 3.4). The patch
discriminator: Isola et al. 2017 (pix2pix); balancing at the output does what VQ-GAN's adaptive
weight (Esser et al. 2021) does at the decoder's last layer.

Shapes: B batch, S samples, C channels, T spectrogram frames, F frequency bins, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.2  # of the leaky rectifier
QUIET = 1e-4  # magnitude of the normalized spectrogram below which nothing is raised
MEMORY = 0.99  # of the moving averages of gradient norms, per step


def _conv(in_dim: int, out_dim: int, kernel: tuple[int, int], dilation: int = 1) -> nn.Module:
    """Time is padded to keep its length, frequency halved by kernels that are wider than 3."""
    stride = (1, 2) if kernel[1] > 3 else (1, 1)
    padding = (dilation * (kernel[0] // 2), kernel[1] // 2)
    return weight_norm(nn.Conv2d(in_dim, out_dim, kernel, stride, padding, (dilation, 1)))


class STFTDiscriminator(nn.Module):
    """One resolution: the complex spectrogram as a picture of two channels -> a map of scores."""

    window: Tensor

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        self.length = window
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.layers = nn.ModuleList(
            [
                _conv(2, channels, (3, 9)),
                *(_conv(channels, channels, (3, 9), dilation) for dilation in (1, 2, 4)),
                _conv(channels, channels, (3, 3)),
            ]
        )
        self.score = _conv(channels, 1, (3, 3))

    def forward(self, audio_BS: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores [B, 1, T, F'] and the activations of every layer, [B, C, T, F'] each."""
        with torch.autocast(audio_BS.device.type, enabled=False):
            spectrum_BFT = torch.stft(
                audio_BS.float(), self.length, self.length // 4, window=self.window,
                normalized=True, return_complex=True,
            )  # fmt: skip
            # Square root of the magnitude, the phase kept: as in hearing, what is soft counts too.
            spectrum_BFT = spectrum_BFT / (spectrum_BFT.abs() + QUIET).sqrt()
        x_BCTF = torch.stack([spectrum_BFT.real, spectrum_BFT.imag], 1).transpose(2, 3)
        features = []
        for layer in self.layers:
            x_BCTF = F.leaky_relu(layer(x_BCTF), SLOPE)
            features.append(x_BCTF)
        return self.score(x_BCTF), features


class PatchDiscriminator(nn.Module):
    """Pictures -> a map of scores, each of a patch of 54 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        dims = [3, channels, 2 * channels, 4 * channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise(dims)
        )
        self.layers.append(weight_norm(nn.Conv2d(dims[-1], dims[-1], 3, 1, 1)))
        self.score = weight_norm(nn.Conv2d(dims[-1], 1, 3, 1, 1))

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores [B, 1, H/8, W/8] and the activations of every layer."""
        x_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last) * 2 - 1
        features = []
        for layer in self.layers:
            x_BCHW = F.leaky_relu(layer(x_BCHW), SLOPE)
            features.append(x_BCHW)
        return self.score(x_BCHW), features


class Discriminator(nn.Module):
    """Several networks, such as one a resolution, that tell what is made from what is real; each
    gives scores and the activations of its layers."""

    def __init__(self, scales: Iterable[nn.Module]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(scales)

    def loss(self, made: Tensor, real: Tensor) -> Tensor:
        """What the discriminator minimizes: real above 1, made below -1 (hinge)."""
        losses = []
        for scale in self.scales:
            score, real_score = scale(made.detach())[0], scale(real)[0]
            losses.append(F.relu(1 - real_score.float()).mean() + F.relu(1 + score.float()).mean())
        return torch.stack(losses).mean()

    def judge(self, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """What the codec minimizes: being told apart, and the distance between activations
        relative to their size (feature matching). No gradient reaches the discriminator."""
        self.requires_grad_(False)
        adversarial, matching = [], []
        for scale in self.scales:
            with torch.no_grad():
                _, real_features = scale(real)
            score, made_features = scale(made)
            adversarial.append(F.relu(1 - score.float()).mean())
            for ours, theirs in zip(made_features, real_features, strict=True):
                distance = (ours.float() - theirs.float()).abs().mean()
                matching.append(distance / theirs.float().abs().mean().clamp(min=1e-6))
        self.requires_grad_(True)
        return torch.stack(adversarial).mean(), torch.stack(matching).mean()


class Balancer(nn.Module):
    """Losses on one output pull on it in given proportions, whatever their own scales are.

    The first loss keeps its gradient. Each other one is scaled so that the norm of its gradient,
    averaged over recent steps, is its weight times that of the first. The averages are buffers,
    so that a resumed run balances as before; a step that is not finite leaves no trace in them.
    """

    norms: Tensor
    count: Tensor

    def __init__(self, weights: dict[str, float]) -> None:
        """`weights` of the losses by name, all but the first, which has weight 1."""
        super().__init__()
        self.weights = weights
        self.register_buffer("norms", torch.zeros(1 + len(weights)))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, output: Tensor, first: Tensor, others: dict[str, Tensor]) -> Tensor:
        """A scalar with the value of `first`, whose gradient at `output` is the balanced sum."""
        losses = [first, *(others[name] for name in self.weights)]
        gradients = [torch.autograd.grad(loss, output, retain_graph=True)[0] for loss in losses]
        sizes = torch.stack([gradient.norm() for gradient in gradients])
        if sizes.isfinite().all():
            self.count += 1
            self.norms.lerp_(sizes.to(self.norms), max(1 - MEMORY, 1 / float(self.count)))
        total = gradients[0]
        for gradient, norm, weight in zip(
            gradients[1:], self.norms[1:], self.weights.values(), strict=True
        ):
            total = total + gradient * (weight * self.norms[0] / norm.clamp(min=1e-12))
        return first.detach() + alone((output * total).sum())


def alone(loss: Tensor) -> Tensor:
    """Zero, with the gradient of `loss`: for what is minimized beside a loss that people read."""
    return loss - loss.detach()
