"""Causal layers whose streaming state is a value: `y, state = layer(x, state)`.

`state=None` is the beginning of a stream. Feeding a stream in pieces of any length gives the
same output as feeding it whole; an input too short for one output gives an empty one.

Shapes: B batch, C channels, T time; sound runs along the last axis, [B, C, T].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

State = Any  # a tensor, or a tuple of states; opaque to callers, who only hand it back


def _start(conv: nn.Conv1d | nn.ConvTranspose1d, inputs_per_output: int, gain: float) -> None:
    """Weights that keep the variance of their input (for a gain of 1), biases zero.

    PyTorch's default shrinks it at every layer; twenty layers deep, the sound would reach the
    latent vector a thousand times weaker than the biases, and the codec learns nothing for long.
    """
    nn.init.normal_(conv.weight, std=gain * (1.5 / inputs_per_output) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class CausalConv(nn.Module):
    """A convolution that sees the past only; its state is the input not yet used up."""

    def __init__(
        self, in_dim: int, out_dim: int, kernel_size: int, stride: int = 1, gain: float = 1.0
    ) -> None:
        super().__init__()
        conv = nn.Conv1d(in_dim, out_dim, kernel_size, stride)
        _start(conv, in_dim * kernel_size, gain)
        self.conv = weight_norm(conv)
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        if state is None:
            state = x_BCT.new_zeros(*x_BCT.shape[:2], self.kernel_size - self.stride)
        x_BCT = torch.cat([state, x_BCT], dim=-1)
        outputs = (x_BCT.shape[-1] - self.kernel_size) // self.stride + 1
        if outputs <= 0:
            return x_BCT.new_zeros(len(x_BCT), self.conv.out_channels, 0), x_BCT
        used = (outputs - 1) * self.stride + self.kernel_size
        return self.conv(x_BCT[..., :used]), x_BCT[..., outputs * self.stride :]


class CausalConvTranspose(nn.Module):
    """The mirror of a strided `CausalConv`; its state is the overlap with the next output."""

    def __init__(self, in_dim: int, out_dim: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        conv = nn.ConvTranspose1d(in_dim, out_dim, kernel_size, stride, bias=False)
        _start(conv, in_dim * kernel_size // stride, 1.0)
        self.conv = weight_norm(conv)
        self.bias = nn.Parameter(torch.zeros(out_dim))
        self.overlap = kernel_size - stride

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        if x_BCT.shape[-1] == 0:
            return x_BCT.new_zeros(len(x_BCT), len(self.bias), 0), state
        y_BCT = self.conv(x_BCT)
        if state is not None:
            y_BCT = y_BCT + F.pad(state, (0, y_BCT.shape[-1] - self.overlap))
        ready = y_BCT.shape[-1] - self.overlap
        return y_BCT[..., :ready] + self.bias[:, None], y_BCT[..., ready:]


class ResidualUnit(nn.Module):
    """Two convolutions around a skip, as in SEANet (Tagliasacchi et al. 2020)."""

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                CausalConv(dim, dim // 2, kernel_size),
                CausalConv(dim // 2, dim, kernel_size, gain=0.3),  # begins near the identity
            ]
        )

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        y_BCT, states = x_BCT, []
        for layer, layer_state in zip(self.layers, state or (None, None), strict=True):
            y_BCT, layer_state = layer(F.elu(y_BCT), layer_state)
            states.append(layer_state)
        return x_BCT + y_BCT, tuple(states)


class ResidualLSTM(nn.Module):
    """An LSTM over time around a skip; its state is the LSTM's own."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, num_layers, batch_first=True)

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        if x_BCT.shape[-1] == 0:
            return x_BCT, state
        y_BTC, state = self.lstm(x_BCT.transpose(1, 2), state)
        return x_BCT + y_BTC.transpose(1, 2), state


class Elu(nn.Module):
    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        return F.elu(x_BCT), None


class StreamingSequential(nn.Module):
    """Streaming layers one after another; the state is the tuple of theirs."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        states = []
        for layer, layer_state in zip(
            self.layers, state or (None,) * len(self.layers), strict=True
        ):
            x_BCT, layer_state = layer(x_BCT, layer_state)
            states.append(layer_state)
        return x_BCT, tuple(states)


def fold_weight_norm(module: nn.Module) -> None:
    """Replace every weight-normalized weight by its plain value: faster, and fit to export."""
    for child in module.modules():
        if is_parametrized(child, "weight"):
            remove_parametrizations(child, "weight")
