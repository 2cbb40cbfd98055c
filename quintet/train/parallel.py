"""A transformer on many devices, applied from outside it: the model itself knows one.

Five steps, in the only order in which each can work on what the one before has made:

1. tensor parallel: a layer's matrices are cut among the devices of a row of the mesh;
2. context parallel: of a line's rows each device has a piece, and exchanges it for all rows of some
   heads while they look at one another (`train.context`);
3. activation checkpointing: a block keeps its input only, and is computed again backward;
4. compile: each block by itself, the first for all, as they are alike;
5. FSDP: what is left of each unit's weights, their gradients and the optimizer's state are cut
   among the devices of a column; a unit is whole only while it computes.

The weights keep their names, and their values: one device and many train the same model.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
import warnings
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._dynamo import config as dynamo
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_module
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)
from torch.utils.checkpoint import checkpoint

from quintet.model.omni import Omni
from quintet.model.transformer import Block
from quintet.train.context import attend_together
from quintet.train.processes import Place
from quintet.train.task import TrainConfig

VARIANTS = 64  # of a block's forward that may be compiled


def parallelize(model: Omni, config: TrainConfig, place: Place) -> Place:
    """Divide `model` among the processes, and move it to their devices; this one's place in the
    mesh. One process only moves it, and applies what else `config` asks for.

    Raises:
        UserError: that many processes cannot share the model, or the batch.
    """
    config.check_layout(model.config.model, place.world_size)
    place = place.divided(config.tensor_parallel, config.context_parallel)
    if config.tensor_parallel > 1:
        assert place.mesh is not None
        _cut_layers(model, place.mesh["tensor"])
    for block in model.transformer.layers:
        if place.context_group is not None:
            _cut_rows(block, place.context_group)
        if config.checkpoint_activations:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if config.compile and has_compiler():
            # With and without a mask, learning and not, few rows and many, and that for each stage
            # of a chain: after eight such variants the compiler gives up by default.
            dynamo.recompile_limit = max(dynamo.recompile_limit, VARIANTS)
            block.forward = torch.compile(block.forward, dynamic=True)
    if place.mesh is None:
        model.to(place.device)
    else:
        _shard(model, place.mesh["data"], config)
    return place


class _Whole(ParallelStyle):
    """A module of which every device of a row has all weights, though `inputs` may be shares."""

    def __init__(self, inputs: Placement) -> None:
        super().__init__()
        self.inputs = inputs

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def enter(_: nn.Module, inputs: tuple[Tensor, ...], mesh: DeviceMesh) -> Tensor:
            return DTensor.from_local(inputs[0], mesh, [self.inputs], run_check=False)

        def leave(_: nn.Module, output: DTensor, mesh: DeviceMesh) -> Tensor:
            return output.to_local()

        # Annotated as if the two functions returned nothing.
        return distribute_module(module, device_mesh, None, enter, leave)  # type: ignore[arg-type]


def _cut_layers(model: Omni, mesh: DeviceMesh) -> None:
    """Tensor parallel. Between these modules, activations are plain and the same on all devices.

    Whole key-value groups and slices of the feed-forward's width go to each device. What
    scales queries and keys is one for all heads, so its gradient is the sum over devices. Heads
    are cut along the model's width, because their numbers of entries are odd (`No Output` is one
    more than there are codes). Tables of embeddings are whole: a look-up computes nothing.
    """
    whole, columns, rows = _Whole(Replicate()), ColwiseParallel(), RowwiseParallel()
    of_own_groups = _Whole(Shard(2))  # of [B, T, G, ...]
    from_whole = RowwiseParallel(input_layouts=Replicate())
    plan: dict[str, ParallelStyle] = {
        "embedding.text_image": whole,
        "embedding.audio": whole,
        "transformer.layers.*.attention_norm": whole,
        "transformer.layers.*.attention.query_key_value": columns,
        "transformer.layers.*.attention.query_norm": of_own_groups,
        "transformer.layers.*.attention.key_norm": of_own_groups,
        "transformer.layers.*.attention.output": rows,
        "transformer.layers.*.feed_forward_norm": whole,
        # So that the gradients of both columns are summed before devices exchange them.
        "transformer.layers.*.feed_forward": PrepareModuleInput(
            input_layouts=Replicate(), desired_input_layouts=Replicate()
        ),
        "transformer.layers.*.feed_forward.gate": columns,
        "transformer.layers.*.feed_forward.up": columns,
        "transformer.layers.*.feed_forward.down": rows,
        "transformer.norm": whole,
        "text_image_head": from_whole,
        "audio_head.sub_heads.*": from_whole,
    }
    if model.audio_head.codes:  # it is chained
        plan |= {
            "audio_head.codes.*": whole,
            "audio_head.mixers.*.0": whole,
            "audio_head.mixers.*.1": columns,
            "audio_head.mixers.*.3": rows,
        }
    parallelize_module(model, mesh, plan)
    missed = [n for n, p in model.named_parameters() if not isinstance(p, DTensor)]
    assert not missed, f"the plan of tensor parallelism leaves out {missed}"


def _cut_rows(block: nn.Module, group: ProcessGroup) -> None:
    """Context parallel, of which only the attention knows."""
    assert isinstance(block, Block)
    block.attention.attend = partial(attend_together, group)


def _shard(model: Omni, mesh: DeviceMesh, config: TrainConfig) -> None:
    """FSDP: blocks, tables of embeddings and heads are units; the last norm is the root's."""
    policy = MixedPrecisionPolicy()
    if config.precision == "bfloat16":  # gathered and computed so; kept and summed in float32
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32)
    for unit in (model.embedding.text_image, model.embedding.audio, *model.transformer.layers):
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    for head in (model.text_image_head, model.audio_head):
        # Backward begins with them: let go, they would be gathered again at once.
        fully_shard(head, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    # Some outputs are views, on which nothing here works in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")


def has_compiler() -> bool:
    """`torch.compile` on the CPU needs a C++ compiler and the headers of Python, which
    Debian packs apart; without them a stage trains uncompiled."""
    names = (os.environ.get("CXX", "g++"), "clang++")
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return headers.is_file() and any(shutil.which(name) is not None for name in names)
