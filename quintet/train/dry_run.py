"""A training step of many devices, on one CPU, without memory or numbers: what it would hold.

The real model is divided by the real `parallelize` under a process group that only pretends to
exchange, and computes on fake tensors, which have shapes and no contents (`FakeTensorMode`). Every
storage that an operation makes is weighed until it is freed. So layouts, shapes and memory are
those of the run; numbers and speed are not. What it cannot see: the collectives' own buffers, holes
between blocks of the allocator, and a second exchange in flight.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from quintet.config import OmniConfig, UserError
from quintet.model.embedding import RowTensors
from quintet.model.omni import Batch, Omni
from quintet.train.memory import Layout
from quintet.train.parallel import parallelize
from quintet.train.plan import Traffic, summing_ring
from quintet.train.processes import Place
from quintet.train.task import TrainConfig


@dataclass(frozen=True)
class DryRun:
    """What one device held in a step, in bytes, and how long the dry run took."""

    weights: int
    moments: int  # of AdamW
    peak: int
    traffic: Traffic
    seconds: float


class Scale(TorchDispatchMode):
    """Weighs every storage that operations make, until it is freed, and what they exchange.

    FSDP frees what it has gathered behind the dispatcher's back, by `resize_`; so this stands in
    for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, int] = {}  # bytes by storage
        self.total = 0
        self.peak = 0
        self.exchanged: dict[str, int] = {}  # bytes by collective, of the largest tensor in each

    def add(self, tensor: Tensor) -> None:
        """Weigh a tensor from now on; of a divided one, this device's part."""
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        storage = local.untyped_storage()
        key = id(storage)
        if key not in self.held:
            self.held[key] = 0
            weakref.finalize(storage, self._forget, key)
        self._update(key, storage.nbytes())

    def _update(self, key: int, size: int) -> None:
        self.total += size - self.held[key]
        self.held[key] = size
        self.peak = max(self.peak, self.total)

    def _forget(self, key: int) -> None:
        self.total -= self.held.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # let it become operations on this device's part
        if func is torch.ops._c10d_functional.wait_tensor.default:
            return args[0]  # fake tensors would make it a copy
        if func.namespace in ("c10d", "_c10d_functional"):
            sizes = [leaf.nbytes for leaf in tree_iter(args) if isinstance(leaf, Tensor)]
            name = func.name().split("::")[1]
            self.exchanged[name] = self.exchanged.get(name, 0) + max(sizes)
        made = func(*args, **(kwargs or {}))
        for leaf in tree_iter(made):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return made

    def __enter__(self) -> Scale:
        original = self._original = torch.UntypedStorage.resize_

        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            result = original(storage, size)
            if id(storage) in self.held:
                self._update(id(storage), storage.nbytes())
            return result

        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign, assignment]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        torch.UntypedStorage.resize_ = self._original  # type: ignore[method-assign]
        super().__exit__(*error)


class FusedNorm(torch.autograd.Function):
    """What a GPU's RMSNorm holds: its input, and a number a row. Shapes only."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor | None) -> Tensor:
        statistics = torch.empty(x.shape[:-1], dtype=torch.float32)
        context.save_for_backward(x, weight, statistics)
        return torch.empty_like(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        x, weight, _ = context.saved_tensors
        return torch.empty_like(x), None if weight is None else torch.empty_like(weight)


@contextmanager
def _fused_kernels() -> Iterator[None]:
    """Norms and attention as a GPU's fused kernels hold them: a CPU makes float32 copies for
    both, which would be counted."""
    norm, attention = F.rms_norm, F.scaled_dot_product_attention

    def fused_norm(x: Tensor, _: Any, weight: Tensor | None = None, eps: Any = None) -> Tensor:
        made: Tensor = FusedNorm.apply(x, weight)
        return made

    def half_attention(*tensors: Any, **settings: Any) -> Tensor:
        half: Any = [t.to(torch.bfloat16) if isinstance(t, Tensor) else t for t in tensors]
        return attention(*half, **settings)

    F.rms_norm, F.scaled_dot_product_attention = fused_norm, half_attention  # type: ignore[assignment]
    try:
        yield
    finally:
        F.rms_norm, F.scaled_dot_product_attention = norm, attention


@contextmanager
def _pretended(world_size: int) -> Iterator[Place]:
    """The first of `world_size` processes, of which there is only one."""
    if world_size == 1:
        yield Place()
        return
    if distributed.is_initialized():
        raise UserError("A dry run cannot be made by torchrun's processes; start it by itself.")
    distributed.init_process_group("fake", rank=0, world_size=world_size, store=FakeStore())
    try:
        yield Place(0, world_size)
    finally:
        distributed.destroy_process_group()


def _settings(layout: Layout) -> TrainConfig:
    return TrainConfig(
        steps=1,
        batch_size=layout.samples * layout.devices // layout.together,
        precision="bfloat16",
        tensor_parallel=layout.tensor,
        context_parallel=layout.context,
        checkpoint_activations=layout.checkpointing,
    )


def _model(config: OmniConfig, layout: Layout, place: Place, fake: FakeTensorMode) -> Omni:
    """Divided, with fake weights."""
    if place.world_size == 1:
        with fake:
            model = Omni(config)
            # Fake weights cannot be moved, and are where they belong.
            model.to = lambda *device: model  # type: ignore[method-assign, assignment]
            parallelize(model, _settings(layout), place)
        return model
    with torch.device("meta"):
        model = Omni(config)
    # Outside of the fake mode, as the mesh looks at numbers.
    parallelize(model, _settings(layout), place)
    with fake:
        return model.to_empty(device="cpu")


def _batch(config: OmniConfig, layout: Layout) -> Batch:
    """Of one group, whose device has its piece of all samples; what stands in them does not
    matter."""
    count, rows, books = layout.samples, layout.piece_rows, config.audio.num_codebooks
    text, audio = layout.asked

    def ids(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.long)

    table = RowTensors(
        ids(count, rows, books), ids(count, rows).bool(), ids(count, rows), ids(count, rows),
        torch.zeros(count, rows), ids(count, rows),
    )  # fmt: skip
    return Batch(table, ids(text), ids(text), ids(audio), ids(audio, books))


def dry_run(config: OmniConfig, layout: Layout) -> DryRun:
    """The second of two steps: the first makes the optimizer's state, and fills the caches in
    which operations on divided tensors look up shapes that they work out undivided.

    Raises:
        UserError: the model cannot be divided so.
    """
    started = time.perf_counter()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with _pretended(layout.devices) as place:
        model = _model(config, layout, place, fake)
        with fake, _fused_kernels():
            optimizer = torch.optim.AdamW(model.parameters())
            batch = _batch(config, layout)
            _step(model, optimizer, batch)
            scale = Scale()
            for tensor in (*model.parameters(), *model.buffers()):
                scale.add(tensor)
            weights = scale.total
            for state in optimizer.state.values():
                for value in state.values():
                    scale.add(value)
            averages = scale.total - weights
            with scale:
                _step(model, optimizer, batch)
    seconds = time.perf_counter() - started
    return DryRun(weights, averages, scale.peak, _traffic(scale, layout), seconds)


def _traffic(scale: Scale, layout: Layout) -> Traffic:
    """What rings move of what was exchanged (see `plan.traffic`)."""

    def of(name: str) -> int:
        return scale.exchanged.get(name, 0)

    others = (layout.data - 1) / layout.data
    # Of the pieces that devices of a tensor group gather, what was counted is one.
    pieces = (layout.tensor - 1) * of("all_gather_into_tensor")
    return Traffic(
        of("_allgather_base_") * others,
        of("_reduce_scatter_base_") * others,
        of("all_reduce") * summing_ring(layout.tensor) + pieces,
        of("all_to_all_single") * (layout.context - 1) / layout.context,
    )


def _step(model: Omni, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """As the loop's, but that nothing asks whether it is finite: there are no numbers."""
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.losses(batch)["loss"]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
