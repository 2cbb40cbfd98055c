"""What a trained stage must state; `train.run` does everything else."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from quintet.config import ModelConfig, UserError
from quintet.settings import Count, Natural, Positive, Seed, Share, ShareBelowOne, Weight
from quintet.train.processes import Place

MAY_CHANGE = {  # settings, when a run goes on
    "checkpoint_every", "evaluate_every", "threads", "tensor_parallel", "context_parallel",
    "checkpoint_activations", "loggers",
}  # fmt: skip
CHECKPOINTS = "checkpoints"  # the folder of them in a run's
PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}  # what loggers need


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one trained stage, as its table in the recipe states them.

    Raises:
        UserError: settings that do not go together.
    """

    steps: Count
    batch_size: Count
    learning_rate: Positive = 1e-3
    warmup_steps: Natural = 50
    decay_fraction: Share = 0.3  # of the steps, at the end: linear to zero (warmup-stable-decay)
    weight_decay: Weight = 0.01
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.95)
    clip: Positive = 1.0  # norm of the gradient
    seed: Seed = 0
    checkpoint_every: Count = 200  # steps
    evaluate_every: Count = 500  # steps
    # Of activations; weights stay float32. A stage takes "auto" as the one that trains faster here.
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    compile: bool = False  # of the transformer, where there is a C++ compiler
    # Of the transformer, on a GPU: its steps are recorded and replayed (`train.replay`), for small
    # models, which leave it waiting for Python.
    cuda_graphs: bool = False
    threads: Count = 1
    # Beside the log: "tensorboard", "wandb". See docs/training.md.
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    # Of the transformer: samples share lines of so many rows, as a GPU likes; 0: a line for each.
    packed_rows: Natural = 0
    # Of the transformer, started by torchrun: processes that share each layer; the others share
    # the batch. See docs/many-devices.md.
    tensor_parallel: Count = 1
    # Of the transformer: groups of so many such processes share the rows of each line.
    context_parallel: Count = 1
    checkpoint_activations: bool = False  # of the transformer: less memory, a third more work

    def __post_init__(self) -> None:
        for name in ("tensor_parallel", "context_parallel"):
            if self.compile and getattr(self, name) > 1:
                raise UserError(
                    f"compile does not go together with {name}, as batches differ in length; "
                    f"set compile to false, or {name} to 1."
                )
        for name, alone in (
            ("compile", False), ("packed_rows", 0), ("checkpoint_activations", False),
            ("tensor_parallel", 1), ("context_parallel", 1),
        ):  # fmt: skip
            if self.cuda_graphs and getattr(self, name) != alone:
                raise UserError(
                    f"cuda_graphs does not go together with {name}, which is for larger models; "
                    f"set cuda_graphs to false, or leave {name} out."
                )
        for logger in self.loggers:
            if importlib.util.find_spec(PACKAGES[logger]) is None:
                raise UserError(
                    f"loggers names {logger!r}, whose package {PACKAGES[logger]} is not "
                    f"installed; leave it out, or install the extra quintet[{logger}]."
                )

    def check_layout(self, sizes: ModelConfig, world_size: int) -> None:
        """Whether so many processes can share a transformer of these sizes, and its batches.

        Raises:
            UserError: they cannot.
        """
        if self.cuda_graphs and world_size > 1:
            raise UserError(
                "cuda_graphs is for one process; start it without torchrun, or set cuda_graphs "
                "to false."
            )
        tensor, together = self.tensor_parallel, self.together
        for layout, divisor, name in (
            (self._layout, together, "num_kv_heads"),
            ("tensor_parallel", tensor, "d_feed_forward"),
        ):
            if getattr(sizes, name) % divisor:
                raise UserError(
                    f"{layout} is {divisor} and does not divide {name}, which is "
                    f"{getattr(sizes, name)}; change one of them."
                )
        if world_size % together:
            raise UserError(
                f"{self._layout} is {together} and the number of processes {world_size}; start "
                "a multiple of it with torchrun, or change that setting."
            )
        if self.batch_size < world_size // together:
            sharing = "processes" if together == 1 else "groups of processes"
            raise UserError(
                f"batch_size is {self.batch_size} and {world_size // together} {sharing} share "
                "it, each at least one sample; raise it, or start fewer."
            )

    @property
    def together(self) -> int:
        """Processes that have the same samples."""
        return self.tensor_parallel * self.context_parallel

    @property
    def _layout(self) -> str:
        """What makes their number, as a person has set it."""
        names = [n for n in ("tensor_parallel", "context_parallel") if getattr(self, n) > 1]
        return " times ".join(names) or "tensor_parallel"


class Task(ABC):
    """A module to train and how: batches, losses, evaluation and what to keep.

    `batch` is a pure function of the step, so a run that was killed continues with exactly the
    batches it would have seen.

    Attributes:
        made_ahead: whether a thread may call `batch` for later steps while the module trains;
            then `batch` may look at nothing that training changes, nor at PyTorch's random state.
        replayed: whether `losses`, which then looks at no step, may be recorded (`train.replay`).
    """

    made_ahead, replayed = False, False

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

    def describe_batch(self, step: int) -> str:
        """Which samples `batch` gives for `step`, so that a person can look at them."""
        return f"that of step {step}"

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

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        """Scores on held-out data, after `done` steps."""
        return {}

    def show(self, module: nn.Module, folder: Path) -> None:  # noqa: B027 (may stay empty)
        """Write what a person can see or hear of it into `folder`, which may not exist yet."""

    @abstractmethod
    def export(self, module: nn.Module, folder: Path) -> None:
        """Write what later stages and the model's folder need; the loop moves it into place."""
