"""Causal layers whose streaming state is a value: `y, state = layer(x, state)`.

`layer.start(x)` is the state before a stream begins, and `state=None` means the same. Feeding a
stream in pieces of any length gives the same output as feeding it whole; an input too short for
one output gives an empty one. Every tensor of a state has the batch first, so that streams can
join and leave (`quintet.tokenizers.streams`), and nothing else of a piece outlives it; it is never
written to.

Each layer has two forms. Training takes PyTorch's own layers, under autograd and autocast. On a
CPU without gradients, once weight normalization is folded, every layer is one product of
overlapping rows of sound whose channels lie side by side ([B, T, C] in memory), compiled.

Shapes: B batch, C channels, T time; sound runs along the last axis, [B, C, T]. K is the kernel's
length, S the stride, H the width of an LSTM, L its layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

if TYPE_CHECKING:
    from quintet.tokenizers.windows import PackedMatrix

STEPS = 12  # of one layer, while another is elsewhere
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


def _joined(before_BCT: Tensor, x_BCT: Tensor, falls: bool) -> Tensor:
    """One after the other in time, or where it `falls`, ELU of the other; channels side by side.
    Compiled: the threads of PyTorch's operators go on turning round and round for milliseconds, on
    the cores that products want."""
    from quintet.tokenizers.loops import join  # Numba, which takes a second to load

    if before_BCT.shape[:2] != x_BCT.shape[:2]:
        raise ValueError("What stands before is of other streams, or channels.")
    before_BPC, x_BTC = (
        np.ascontiguousarray(part_BCT.detach().numpy().swapaxes(1, 2))
        for part_BCT in (before_BCT, x_BCT)
    )
    batch, time, channels = x_BTC.shape
    y_BSC = np.empty((batch, before_BPC.shape[1] + time, channels), np.float32)
    join(before_BPC, x_BTC, y_BSC, falls)
    return torch.from_numpy(y_BSC).mT


def elu(x_BCT: Tensor, before_BCT: Tensor | None = None) -> Tensor:
    """F.elu, and where nothing is learned in a third of its time; the same within 2e-7. What stands
    `before_BCT` in time stays as it is."""
    if _without_gradient(x_BCT):
        return _joined(x_BCT[..., :0] if before_BCT is None else before_BCT, x_BCT, falls=True)
    made_BCT = F.elu(x_BCT)
    return made_BCT if before_BCT is None else torch.cat([before_BCT, made_BCT], dim=-1)


class _Convolution(nn.Module, ABC):
    """A weight-normalized convolution that can be folded into plain weights.

    Args:
        conv: whose weights are already started.
    """

    conv: Any  # nn.Conv1d or nn.ConvTranspose1d

    def __init__(self, conv: nn.Conv1d | nn.ConvTranspose1d) -> None:
        super().__init__()
        self.conv = weight_norm(conv)
        self.kernel_size, self.stride = conv.kernel_size[0], conv.stride[0]
        # On processors with AMX, PyTorch 2.13 computes these in bfloat16 wrongly: the output of a
        # convolution, and the gradient that a transposed one sends back, is noise.
        channels = min(conv.in_channels, conv.out_channels)
        self.narrow = channels <= 16 and self.stride in (4, 6, 8, 10)
        self._packed: PackedMatrix | None = None  # of the weights as they were at the last call

    def train(self, mode: bool = True) -> _Convolution:
        self._packed = None  # an optimizer of fused steps writes without counting
        return super().train(mode)

    def fold(self) -> None:
        if is_parametrized(self.conv, "weight"):
            remove_parametrizations(self.conv, "weight")

    @abstractmethod
    def _matrix(self) -> Tensor:
        """The folded weight, as a matrix of what a window holds by what comes of it."""

    def _products(
        self,
        x_BCT: Tensor,
        bias_O: Tensor,
        outputs: int,
        stride: int,
        more_BOT: Tensor | None = None,
    ) -> Tensor:
        """Products of windows with the folded weights, and what else is added, [B, O, outputs]."""
        from quintet.tokenizers.windows import PackedMatrix, products_of_windows

        weights, packed = (self.conv.weight, bias_O), self._packed
        if packed is None or not packed.fits(*weights):
            matrix_IO = self._matrix()
            bias_O = bias_O.repeat(matrix_IO.shape[1] // len(bias_O))
            packed = self._packed = PackedMatrix(matrix_IO, bias_O, *weights)
        return products_of_windows(x_BCT, packed, outputs, stride, more_BOT)

    def _convolved(self, x_BCT: Tensor) -> Tensor:
        """PyTorch's own convolution, in float32 where its bfloat16 is wrong."""
        if self.narrow:
            with torch.autocast(x_BCT.device.type, enabled=False):
                return cast(Tensor, self.conv(x_BCT.float()))
        return cast(Tensor, self.conv(x_BCT))

    def _by_products(self, x_BCT: Tensor) -> bool:
        """Whether products of windows may replace the convolution for this input."""
        return (
            not is_parametrized(self.conv, "weight")
            and _without_gradient(x_BCT)
            and self.conv.weight.dtype == torch.float32
            and self.conv.in_channels == x_BCT.shape[1]
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
        super().__init__(conv)
        self.activated = activated

    def start(self, x_BCT: Tensor) -> State:
        """[B, C, K - S] of silence."""
        return x_BCT.new_zeros(*x_BCT.shape[:2], self.kernel_size - self.stride)

    def forward(
        self, x_BCT: Tensor, state: State = None, more_BOT: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """The output, to which `more_BOT` is added, and the next state."""
        if state is None:
            state = self.start(x_BCT)
        by_products = self._by_products(x_BCT)
        if self.activated:
            x_BCT = elu(x_BCT, state)
        elif by_products:
            x_BCT = _joined(state, x_BCT, falls=False)
        else:
            x_BCT = torch.cat([state, x_BCT], dim=-1)
        outputs = (x_BCT.shape[-1] - self.kernel_size) // self.stride + 1
        if outputs <= 0:
            return x_BCT.new_zeros(len(x_BCT), self.conv.out_channels, 0), x_BCT
        rest = x_BCT[..., outputs * self.stride :].clone()
        if by_products:
            bias_O = self.conv.bias
            return self._products(x_BCT, bias_O, outputs, self.stride, more_BOT), rest
        used = (outputs - 1) * self.stride + self.kernel_size
        y_BOT = self._convolved(x_BCT[..., :used])
        return (y_BOT if more_BOT is None else more_BOT + y_BOT), rest

    def _matrix(self) -> Tensor:
        return cast(Tensor, self.conv.weight).permute(2, 1, 0).flatten(0, 1)  # [K C, O]


class CausalConvTranspose(_Convolution):
    """The mirror of a strided `CausalConv` whose kernel is twice its stride; its state is the last
    input, of which half is still to come."""

    def __init__(self, in_dim: int, out_dim: int, stride: int) -> None:
        conv = nn.ConvTranspose1d(in_dim, out_dim, 2 * stride, stride, bias=False)
        _start(conv, 2 * in_dim, 1.0)
        super().__init__(conv)
        self.bias = nn.Parameter(torch.zeros(out_dim))

    def start(self, x_BCT: Tensor) -> State:
        """[B, C, 1]: nothing yet."""
        return x_BCT.new_zeros(*x_BCT.shape[:2], 1)

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.start(x_BCT)
        batch, _, time = x_BCT.shape
        if time == 0:
            return x_BCT.new_zeros(batch, len(self.bias), 0), state
        if self._by_products(x_BCT):
            x_BCT = _joined(state, x_BCT, falls=False)
            y_BTO = self._products(x_BCT, self.bias, time, 1).mT
            y_BCT = y_BTO.view(batch, time * self.stride, len(self.bias)).mT
        else:
            x_BCT = torch.cat([state, x_BCT], dim=-1)
            whole_BCT = self._convolved(x_BCT)[..., self.stride : -self.stride]
            y_BCT = whole_BCT + self.bias[:, None]
        return y_BCT, x_BCT[..., -1:].clone()

    def _matrix(self) -> Tensor:
        """[2 C, S O]: the second half of what the input before makes, the first of the input's."""
        first_CSO, second_CSO = self.conv.weight.mT.split(self.stride, dim=1)
        return torch.cat([second_CSO, first_CSO]).flatten(1)


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
        first, second = self.layers
        first_state, second_state = state or (None, None)
        y_BCT, first_state = first(x_BCT, first_state)
        if self.shortcut is not None:
            x_BCT, _ = self.shortcut(x_BCT)
        y_BCT, second_state = second(y_BCT, second_state, x_BCT)
        return y_BCT, (first_state, second_state)


class ResidualLSTM(nn.Module):
    """An LSTM over time around a skip; its state is (hidden, cell), each [B, L, H]."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, num_layers, batch_first=True)
        self._packed: dict[int, tuple[PackedMatrix, np.ndarray]] = {}

    def train(self, mode: bool = True) -> ResidualLSTM:
        self._packed.clear()
        return super().train(mode)

    def start(self, x_BCT: Tensor) -> State:
        zeros = x_BCT.new_zeros(len(x_BCT), self.lstm.num_layers, self.lstm.hidden_size)
        return zeros, zeros.clone()

    def forward(self, x_BCT: Tensor, state: State = None) -> tuple[Tensor, State]:
        if x_BCT.shape[-1] == 0:
            return x_BCT, self.start(x_BCT) if state is None else state
        x_BTH = x_BCT.mT
        if _without_gradient(x_BCT) and self.lstm.weight_hh_l0.dtype == torch.float32:
            y_BTH, state = self._steps(x_BTH, *(state or self.start(x_BCT)))
            return y_BTH.mT, state
        if state is not None:
            state = tuple(part.transpose(0, 1).contiguous() for part in state)
        y_BTH, state = self.lstm(x_BTH, state)
        return x_BCT + y_BTH.mT, tuple(part.transpose(0, 1) for part in state)

    def _steps(self, x_BTH: Tensor, hidden_BLH: Tensor, cell_BLH: Tensor) -> tuple[Tensor, State]:
        """The LSTM's equations. Nothing is repacked at each call, as in PyTorch's own. With threads
        to spare, layers go side by side: one is at some steps while the one before it is at the
        next."""
        from quintet.compiled.threads import side_by_side
        from quintet.tokenizers.loops import lstm  # Numba, which takes a second to load

        layers, time = self.lstm.num_layers, x_BTH.shape[1]
        state = (len(x_BTH), layers, self.lstm.hidden_size)
        if x_BTH.shape[2] != state[2] or not hidden_BLH.shape == cell_BLH.shape == state:
            raise ValueError(f"The input, or its state, is of another shape than {state}.")
        matrices = [self._matrices(layer) for layer in range(layers)]
        cell_LBH = np.ascontiguousarray(cell_BLH.transpose(0, 1).numpy()).copy()
        hidden_LBH = np.ascontiguousarray(hidden_BLH.transpose(0, 1).numpy())
        x_TBH = np.ascontiguousarray(x_BTH.transpose(0, 1).numpy())
        made = [x_TBH] + [np.empty_like(x_TBH) for _ in range(layers)]
        steps = time if torch.get_num_threads() == 1 else STEPS
        parts = range(0, time, steps)
        for wave in range(len(parts) + layers - 1):
            jobs = []
            for layer, (into, back) in enumerate(matrices):
                if 0 <= wave - layer < len(parts):
                    first = parts[wave - layer]
                    now = slice(first, first + steps)
                    before_BH = made[layer + 1][first - 1] if first else hidden_LBH[layer]
                    given = (made[layer][now], into.panels, into.bias_P, back, before_BH)
                    jobs.append(partial(lstm, *given, cell_LBH[layer], made[layer + 1][now]))
            side_by_side(jobs)
        last_BLH = np.stack([made_TBH[-1] for made_TBH in made[1:]], axis=1)
        y_BTH = torch.from_numpy(made[-1] + x_TBH).transpose(0, 1)
        return y_BTH, (torch.from_numpy(last_BLH), torch.from_numpy(cell_LBH).transpose(0, 1))

    def _matrices(self, layer: int) -> tuple[PackedMatrix, np.ndarray]:
        """Of a layer: what its input makes of the gates, and what its hidden values make."""
        from quintet.compiled.panels import pack_for_few
        from quintet.tokenizers.windows import PackedMatrix

        into_GI, back_GH, *biases = weights = self.lstm.all_weights[layer]
        known = self._packed.get(layer)
        if known is None or known[0] is None or not known[0].fits(*weights):
            into = PackedMatrix(into_GI.T, biases[0] + biases[1], *weights)
            known = self._packed[layer] = into, pack_for_few(back_GH.detach().numpy())
        return known


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
