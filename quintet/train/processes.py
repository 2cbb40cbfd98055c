"""The processes that train one model together: who they are, and what they tell one another.

`torchrun` starts them and says in the environment which is which. Without it there is one.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from quintet.config import UserError, counted

if TYPE_CHECKING:  # it takes half a second to import
    from torch.distributed.tensor import DTensor

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Place:
    """This process among those that train together, and its device."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU
    # [data, tensor]: a column shares the rows of a batch, a row the layers of the model.
    mesh: DeviceMesh | None = None
    context: int = 1  # so many neighbours in a column have the same lines, each a piece of them
    context_group: ProcessGroup | None = None  # this process among these neighbours

    @property
    def leads(self) -> bool:
        """One process writes the log, shows the progress and exports."""
        return self.rank == 0

    @property
    def data_rank(self) -> int:
        """Which share of a batch is this process's."""
        return 0 if self.mesh is None else self.mesh.get_local_rank("data")

    @property
    def data_size(self) -> int:
        """Into how many shares a batch is divided."""
        return 1 if self.mesh is None else self.mesh["data"].size()

    @property
    def line_groups(self) -> int:
        """Among how many groups of processes the lines of a batch are divided."""
        return self.data_size // self.context

    def divided(self, tensor: int, context: int) -> Place:
        """The same place in a mesh whose rows have `tensor` processes, with groups of `context` in
        its columns; neighbours stand in one row, because what they exchange is the most urgent."""
        if self.world_size == 1:
            return self
        sizes = (self.world_size // tensor, tensor)
        mesh = init_device_mesh(self.device.type, sizes, mesh_dim_names=("data", "tensor"))
        if context == 1:
            return replace(self, mesh=mesh)
        # Groups of their own, so that FSDP, whose group may be of the same processes, exchanges
        # beside them and not behind them.
        neighbours = mesh.mesh.T.reshape(-1, context).tolist()
        group, _ = distributed.new_subgroups_by_enumeration(neighbours)
        return replace(self, mesh=mesh, context=context, context_group=group)

    def add_up(self, values: dict[str, float]) -> dict[str, float]:
        """The sums of `values` over the shares of a batch."""
        if self.mesh is None:
            return values
        sums = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums, group=self.mesh.get_group("data"))
        return dict(zip(values, sums.tolist(), strict=True))

    def clip(self, parameters: list[nn.Parameter], limit: float) -> Tensor:
        """Clip the norm of gradients, wherever their parts are; the norm.

        It is exchanged once, so that all processes have the same to the last digit: what the
        devices of a row have in common must stay the same on all.
        """
        if self.mesh is None:
            return nn.utils.clip_grad_norm_(parameters, limit)
        parts: dict[int, list[Tensor]] = {}  # by how many processes have the same one
        for gradient in [p.grad for p in parameters if p.grad is not None]:
            divided = cast("DTensor", gradient)
            sizes = zip(divided.device_mesh.shape, divided.placements, strict=True)
            copies = math.prod(size for size, placed in sizes if placed.is_replicate())
            parts.setdefault(copies, []).append(divided.to_local())
        square = torch.zeros((), device=self.device)
        for copies, tensors in parts.items():
            square += nn.utils.get_total_norm(tensors) ** 2 / copies
        distributed.all_reduce(square)
        norm = square.sqrt()
        for tensors in parts.values():
            torch._foreach_mul_(tensors, (limit / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def all_agree(self, yes: bool) -> bool:
        """Whether all processes say yes; none goes on before all have spoken."""
        if self.world_size == 1:
            return yes
        votes = torch.tensor(int(yes), device=self.device)
        distributed.all_reduce(votes, distributed.ReduceOp.MIN)
        return bool(votes)


def world_size() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process speaks for all."""
    return int(os.environ.get("RANK", "0")) == 0


def join() -> Place:
    """Meet the other processes, if there are any; this one's place, without a mesh yet.

    Raises:
        UserError: there are more processes on this machine than GPUs.
    """
    device = _device(int(os.environ.get("LOCAL_RANK", "0")))
    count = world_size()
    if count == 1:
        return Place(device=device)
    if not distributed.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # Also on GPUs, gloo carries what lies in the memory of the CPU: checkpoints are written
        # from there.
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Place(distributed.get_rank(), count, device)


def leave() -> None:
    """Part from the other processes, at the end of the work."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return CPU
    gpus = torch.cuda.device_count()
    started = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if max(started, local_rank + 1) > gpus:  # all find it, so that the one that speaks does too
        raise UserError(
            f"There are {started} processes on this machine and {counted(gpus, 'GPU')}; lower "
            "--nproc-per-node to that."
        )
    return torch.device("cuda", local_rank)


def fastest_precision(on_gpu: bool) -> Literal["float32", "bfloat16"]:
    """bfloat16 where such numbers are multiplied as they are: by GPUs from compute capability 8 on,
    and by processors with tiles (AMX) or AVX-512 BF16. On others it is up to eighteen times as
    slow as float32."""
    if on_gpu:  # all are taken to be of one kind
        multiplies = torch.cuda.get_device_capability(0) >= (8, 0)
    else:
        names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        multiplies = any(getattr(torch.cpu, name, bool)() for name in names)
    return "bfloat16" if multiplies else "float32"
