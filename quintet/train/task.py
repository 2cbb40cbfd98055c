"""What a trained stage must state; `train.run` does everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from quintet.config import UserError
from quintet.train.processes import Place


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one trained stage, as its table in the recipe states them."""

    steps: int
    batch_size: int
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    decay_fraction: float = 0.3  # of the steps, at the end: linear to zero (warmup-stable-decay)
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0  # norm of the gradient
    seed: int = 0
    checkpoint_every: int = 200  # steps
    evaluate_every: int = 500  # steps
    precision: Literal["float32", "bfloat16"] = "float32"  # of activations; weights stay float32
    compile: bool = False  # of the transformer, where there is a C++ compiler
    threads: int = 1
    # Of the transformer: samples share lines of so many rows, as a GPU likes; 0: a line for each.
    packed_rows: int = 0
    # Of the transformer, started by torchrun: processes that share each layer; the others share
    # the batch. See docs/many-devices.md.
    tensor_parallel: int = 1
    checkpoint_activations: bool = False  # of the transformer: less memory, a third more work


class Task(ABC):
    """A module to train and how: batches, losses, evaluation and what to keep.

    `batch` is a pure function of the step, so a run that was killed continues with exactly the
    batches it would have seen.
    """

    @abstractmethod
    def module(self) -> nn.Module:
        """What trains, with its starting weights. Frozen parts have requires_grad False."""

    def spread(self, module: nn.Module, place: Place) -> Place:
        """Divide `module` among the processes that `torchrun` has started, and move it to their
        devices; this process's place in the mesh. Then `batch` gives this process's share of the
        batch, `losses` its part of each loss (the parts add up), and `evaluate` the scores of all.

        Raises:
            UserError: it cannot be divided.
        """
        if place.world_size > 1:
            raise UserError("This stage trains in one process; start it without torchrun.")
        return Place()

    @abstractmethod
    def batch(self, step: int) -> Any:
        """The inputs of `step`, the same at every call."""

    @abstractmethod
    def losses(self, module: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        """Scalars to log; the one named "loss" is minimized."""

    def record(self) -> dict[str, Any]:
        """Settings beside the `TrainConfig` that must not change when a run goes on."""
        return {}

    def before_step(self, module: nn.Module, step: int) -> None:  # noqa: B027 (may stay empty)
        """For what happens at a given step, such as filling codebooks."""

    def resets_optimizer(self, step: int) -> bool:
        """Whether the optimizer forgets before `step` what it has gathered: a function of the
        step alone, so that a resumed run forgets where it would have."""
        return False

    def parameters(self, module: nn.Module) -> Iterable[Any]:
        """Parameters, or optimizer groups of them. Groups with a "part" of their own, such as
        an adversary, have their gradients clipped by themselves."""
        return [p for p in module.parameters() if p.requires_grad]

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Scores on held-out data."""
        return {}

    def show(self, module: nn.Module, folder: Path) -> None:  # noqa: B027 (may stay empty)
        """Write what a person can see or hear of it into `folder`, which may not exist yet."""

    @abstractmethod
    def export(self, module: nn.Module, folder: Path) -> None:
        """Write what later stages and the model's folder need; the loop moves it into place."""
