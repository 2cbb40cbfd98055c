"""Causal layers whose streaming state is a value: `y, state = layer(x, state)`.

`layer.start(x)` is the state before a stream begins, and `state=None` means the same. Feeding a
stream in pieces of any length gives the same output as feeding it whole; an input too short for
one output gives an empty one. Every tensor of a state has the batch first, so that streams can
join and leave (`quintet.tokenizers.streams`), and nothing else of a piece outlives it; it is never
written to.

Each layer has two forms. Training takes PyTorch's own layers, under autograd and autocast. On a
CPU without gradients, once weight normalization is folded, every layer is a few matrix products
on sound whose channels lie side by side ([B, T, C] in memory); folding lays the weights out for
that.

Shapes: B batch, C channels, T time; sound runs along the last axis, [B, C, T]. K is the kernel's
length, S the stride, H the width of an LSTM, L its layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from quintet.products import add_product, add_product_

State = Any  # a tensor, or a tuple of states; opaque to callers, who only hand it back


def _start(conv: nn.Conv1d | nn.ConvTranspose1d, inputs_per_output: int, gain: float) -> None:
    """Weights that keep the variance of their input (for a gain of 1), biases zero.

    PyTorch's default shrinks it at every layer; twenty layers deep, the sound would reach the
    latent vector a thousand times weaker than the biases, and the codec learns nothing for long.
    """
    nn.init.normal_(conv.weight, std=gain * (1.5 / inputs_per_output) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _without_gradient(x_BCT: Tensor) -> bool:
    """Whether the forms that work in place, on channels side by side, may be taken."""
    return (
        not torch.is_grad_enabled()
        and x_BCT.device.type == "cpu"
        and x_BCT.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def elu(x_BCT: Tensor, before_BCT: Tensor | None = None) -> Tensor:
    """F.elu, and where nothing is learned in a third of its time; the same within 2e-7. What stands
    `before_BCT` in time stays as it is."""
    if not _without_gradient(x_BCT):
        made_BCT = F.elu(x_BCT)
        return made_BCT if before_BCT is None else torch.cat([before_BCT, made_BCT], dim=-1)
    from quintet.tokenizers import loops  # Numba, which training has no use for

    # Channels side by side, as products want them; but where nothing comes before, as they are.
    turned = before_BCT is not None or x_BCT.stride()[1:] == (1, x_BCT.shape[1])
    x = x_BCT.mT if turned else x_BCT
    if x.stride()[1:] != (x.shape[2], 1):  # of one stream not all in a row
        x = x.contiguous()
    past = 0 if before_BCT is None else before_BCT.shape[2]
    y = torch.empty(x.shape[0], past + x.shape[1], x.shape[2])
    if before_BCT is not None:
        if before_BCT.shape[:2] != x_BCT.shape[:2]:
            raise ValueError("What stands before is of other streams, or channels.")
        y[:, :past] = before_BCT.mT
    if x.numel():
        apart, length = x.stride(0), x[0].numel()  # of streams, which may be pieces of longer ones
        row = x.as_strided(((len(x) - 1) * apart + length,), (1,))
        made = y.view(-1)[past * x.shape[2] :]
        loops.elu(row.numpy(), apart, made.numpy(), y.stride(0), length, len(x))
    return y.mT if turned else y


def _contiguous_weight(
    conv: nn.Module, weights: dict[str, Tensor], prefix: str, local_metadata: object
) -> None:
    """Save folded weights in the order that files want, whatever their order in memory."""
    if f"{prefix}weight" in weights:
        weights[f"{prefix}weight"] = weights[f"{prefix}weight"].contiguous()


class _Convolution(nn.Module):
    """A weight-normalized convolution that can be folded into plain weights.

    Args:
        conv: whose weights are already started.
        order: of the weight's axes when folded, for products with channels side by side.
    """

    conv: Any  # nn.Conv1d or nn.ConvTranspose1d

    def __init__(self, conv: nn.Conv1d | nn.ConvTranspose1d, order: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = weight_norm(conv)
        self.conv.register_state_dict_post_hook(_contiguous_weight)
        self.order = order
        self.kernel_size, self.stride = conv.kernel_size[0], conv.stride[0]
        # On processors with AMX, PyTorch 2.13 computes these in bfloat16 wrongly: the output of a
        # convolution, and the gradient that a transposed one sends back, is noise.
        channels = min(conv.in_channels, conv.out_channels)
        self.narrow = channels <= 16 and self.stride in (4, 6, 8, 10)

    def fold(self) -> None:
        if not is_parametrized(self.conv, "weight"):
            return
        remove_parametrizations(self.conv, "weight")
        weight = self.conv.weight.detach().permute(self.order).contiguous()
        back = [self.order.index(axis) for axis in range(3)]
        self.conv.weight = nn.Parameter(weight.permute(back))

    def _ordered_weight(self) -> Tensor:
        """The folded weight with its axes in `order`; a view, unless somebody replaced it."""
        return self.conv.weight.permute(self.order).contiguous()

    def _convolved(self, x_BCT: Tensor) -> Tensor:
        """PyTorch's own convolution, in float32 where its bfloat16 is wrong."""
        if self.narrow:
            with torch.autocast(x_BCT.device.type, enabled=False):
                return cast(Tensor, self.conv(x_BCT.float()))
        return cast(Tensor, self.conv(x_BCT))

    def _by_products(self, x_BCT: Tensor) -> bool:
        """Whether matrix products may replace the convolution for this input."""
        return (
            self.kernel_size % self.stride == 0
            and not is_parametrized(self.conv, "weight")
            and _without_gradient(x_BCT)
        )


class CausalConv(_Convolution):
    """A convolution that sees the past only, of ELU of its input where it is `activated`; its state
    is what is not yet used up."""

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        kernel_size: int,
        stride: int = 1,
        gain: float = 1.0,
        activated: bool = False,
    ) -> None:
        conv = nn.Conv1d(in_dim, out_dim, kernel_size, stride)
        _start(conv, in_dim * kernel_size, gain)
        super().__init__(conv, order=(2, 1, 0))
        self.activated = activated

    def start(self, x_BCT: Tensor) -> State:
        """[B, C, K - S] of silence."""
        return x_BCT.new_zeros(*x_BCT.shape[:2], self.kernel_size - self.stride)

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.start(x_BCT)
        by_products = self._by_products(x_BCT)
        if self.activated:
            x_BCT = elu(x_BCT, state)
        elif by_products:  # along the middle axis: channels side by side stay so
            x_BCT = torch.cat([state.mT, x_BCT.mT], dim=1).mT
        else:
            x_BCT = torch.cat([state, x_BCT], dim=-1)
        outputs = (x_BCT.shape[-1] - self.kernel_size) // self.stride + 1
        if outputs <= 0:
            return x_BCT.new_zeros(len(x_BCT), self.conv.out_channels, 0), x_BCT
        rest = x_BCT[..., outputs * self.stride :].clone()
        if by_products:
            return self._products(x_BCT.mT, outputs).mT, rest
        used = (outputs - 1) * self.stride + self.kernel_size
        return self._convolved(x_BCT[..., :used]), rest

    def _products(self, x_BTC: Tensor, outputs: int) -> Tensor:
        """[B, T, C] -> [B, outputs, out_dim].

        Rows of S samples times K / S matrices. The streams of a batch lie one after another,
        so that each matrix is read once for all; rows that straddle two streams are dropped.
        """
        weight_KCO, bias = self._ordered_weight(), self.conv.bias
        out_dim, taps = len(bias), self.kernel_size // self.stride
        batch, time, in_dim = x_BTC.shape
        if in_dim == 1:  # rows of one sample would be too short: rows of a kernel's length
            windows = x_BTC[..., 0].unfold(1, self.kernel_size, self.stride)
            rows = windows.reshape(-1, self.kernel_size)
            made = add_product(bias, rows, weight_KCO.view(self.kernel_size, out_dim))
            return made.view(batch, outputs, out_dim)
        length = time // self.stride
        rows = x_BTC[:, : length * self.stride].reshape(batch * length, self.stride * in_dim)
        matrices = weight_KCO.view(taps, self.stride * in_dim, out_dim)
        count = batch * length - taps + 1
        made = add_product(bias, rows[:count], matrices[0])
        for tap in range(1, taps):
            made = add_product_(made, rows[tap : tap + count], matrices[tap])
        return made.as_strided((batch, outputs, out_dim), (length * out_dim, out_dim, 1))


class CausalConvTranspose(_Convolution):
    """The mirror of a strided `CausalConv`; its state is the overlap with the next output."""

    def __init__(self, in_dim: int, out_dim: int, kernel_size: int, stride: int) -> None:
        conv = nn.ConvTranspose1d(in_dim, out_dim, kernel_size, stride, bias=False)
        _start(conv, in_dim * kernel_size // stride, 1.0)
        super().__init__(conv, order=(0, 2, 1))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        self.overlap = kernel_size - stride

    def start(self, x_BCT: Tensor) -> State:
        """[B, out_dim, K - S]: nothing yet."""
        return x_BCT.new_zeros(len(x_BCT), len(self.bias), self.overlap)

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.start(x_BCT)
        if x_BCT.shape[-1] == 0:
            return x_BCT.new_zeros(len(x_BCT), len(self.bias), 0), state
        if self.kernel_size == 2 * self.stride and self._by_products(x_BCT):
            return self._products(x_BCT.mT, state)
        y_BCT = self._convolved(x_BCT)
        y_BCT = y_BCT + F.pad(state, (0, y_BCT.shape[-1] - self.overlap))
        ready = y_BCT.shape[-1] - self.overlap
        return y_BCT[..., :ready] + self.bias[:, None], y_BCT[..., ready:].clone()

    def _products(self, x_BTC: Tensor, state_BOS: Tensor) -> tuple[Tensor, State]:
        """[B, T, C] -> [B, out_dim, T * S] and the overlap [B, out_dim, S].

        Row t of the output, S samples, is x[t] times one matrix plus x[t - 1] times another.
        A row of zeros before each stream keeps a batch's streams apart, and makes of the row
        after each stream its overlap.
        """
        weight_CKO, stride = self._ordered_weight(), self.stride
        batch, time, in_dim = x_BTC.shape
        out_dim = len(self.bias)
        padded = x_BTC.new_zeros(batch * (time + 1) + 1, in_dim)
        padded[:-1].view(batch, time + 1, in_dim)[:, 1:] = x_BTC
        bias = self.bias.repeat(stride)
        now, later = weight_CKO.view(in_dim, 2, stride * out_dim).unbind(1)
        made = add_product_(add_product(bias, padded[1:], now), padded[:-1], later)
        made = made.view(batch, time + 1, stride * out_dim)
        made[:, 0] += state_BOS.mT.reshape(batch, stride * out_dim)
        overlap = (made[:, time] - bias).view(batch, stride, out_dim).mT
        return made[:, :time].reshape(batch, time * stride, out_dim).mT, overlap


class ResidualUnit(nn.Module):
    """Two convolutions around a skip, as in SEANet (Tagliasacchi et al. 2020).

    Args:
        dim: channels outside; half as many between the convolutions.
        kernel_sizes: of the two convolutions.
        shortcut: what the skip does: nothing, or a 1x1 convolution as in EnCodec.
    """

    def __init__(
        self,
        dim: int,
        kernel_sizes: tuple[int, int],
        shortcut: Literal["identity", "conv"] = "identity",
    ) -> None:
        super().__init__()
        first, second = kernel_sizes
        self.layers = nn.ModuleList(
            [
                CausalConv(dim, dim // 2, first, activated=True),
                # It begins near the identity.
                CausalConv(dim // 2, dim, second, gain=0.3, activated=True),
            ]
        )
        # One sample wide, so it has no past and no state.
        self.shortcut: CausalConv | None = CausalConv(dim, dim, 1) if shortcut == "conv" else None

    def start(self, x_BCT: Tensor) -> State:
        x_BCT = x_BCT[..., :0]
        return self(x_BCT)[1]

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        y_BCT, states = x_BCT, []
        for layer, layer_state in zip(self.layers, state or (None, None), strict=True):
            y_BCT, layer_state = layer(y_BCT, layer_state)
            states.append(layer_state)
        if self.shortcut is not None:
            x_BCT, _ = self.shortcut(x_BCT)
        return (y_BCT.add_(x_BCT) if _without_gradient(y_BCT) else x_BCT + y_BCT), tuple(states)


class ResidualLSTM(nn.Module):
    """An LSTM over time around a skip; its state is (hidden, cell), each [B, L, H]."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, num_layers, batch_first=True)

    def start(self, x_BCT: Tensor) -> State:
        zeros = x_BCT.new_zeros(len(x_BCT), self.lstm.num_layers, self.lstm.hidden_size)
        return zeros, zeros.clone()

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        if x_BCT.shape[-1] == 0:
            return x_BCT, self.start(x_BCT) if state is None else state
        x_BTH = x_BCT.mT
        if _without_gradient(x_BCT):
            y_BTH, state = self._steps(x_BTH, *(state or self.start(x_BCT)))
            return (y_BTH + x_BTH).mT, state
        if state is not None:
            state = tuple(part.transpose(0, 1).contiguous() for part in state)
        y_BTH, state = self.lstm(x_BTH, state)
        return x_BCT + y_BTH.mT, tuple(part.transpose(0, 1) for part in state)

    def _steps(self, x_BTH: Tensor, hidden_BLH: Tensor, cell_BLH: Tensor) -> tuple[Tensor, State]:
        """The LSTM's equations, layer by layer. Nothing is repacked at each call, as in PyTorch's
        own, which costs a third of the time in pieces of 250 ms. (Layers side by side on threads of
        ours lose: PyTorch's wait for their next product by turning round and round.)"""
        from quintet.tokenizers import loops  # Numba, which training has no use for

        state = (len(x_BTH), self.lstm.num_layers, self.lstm.hidden_size)
        if x_BTH.shape[2] != state[2] or not hidden_BLH.shape == cell_BLH.shape == state:
            raise ValueError(f"The input, or its state, is of another shape than {state}.")
        x_TBI, last = x_BTH.transpose(0, 1).contiguous(), []
        cell_LBH = cell_BLH.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        hidden_LBH = hidden_BLH.transpose(0, 1).contiguous()
        for weights, hidden_BH, cell_BH in zip(
            self.lstm.all_weights, hidden_LBH, cell_LBH, strict=True
        ):
            into_GI, weight_GH, bias_G, more_G = (w.detach().contiguous() for w in weights)
            made_TBH = x_TBI.new_empty(*x_TBI.shape[:2], len(weight_GH) // 4)
            given = (x_TBI, into_GI, bias_G + more_G, weight_GH, hidden_BH, cell_BH, made_TBH)
            loops.lstm(*(tensor.numpy() for tensor in given))
            last.append(made_TBH[-1].clone())
            x_TBI = made_TBH
        return x_TBI.transpose(0, 1), (torch.stack(last, 1), cell_LBH.transpose(0, 1))


class Elu(nn.Module):
    """No past, hence no state."""

    def start(self, x_BCT: Tensor) -> State:
        return ()

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        return elu(x_BCT), ()


class StreamingSequential(nn.Module):
    """Streaming layers one after another; the state is the tuple of theirs."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def start(self, x_BCT: Tensor) -> State:
        """The state before streams like `x` begin, whose batch, type and device it takes."""
        return self(x_BCT[..., :0])[1]

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
        if isinstance(child, _Convolution):
            child.fold()
