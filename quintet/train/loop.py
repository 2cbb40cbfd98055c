"""The only training loop: steps, schedule, clipping, log, checkpoints, exact resumption; the same
for one process and for many."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from quintet.config import UserError
from quintet.train.exports import export
from quintet.train.interrupts import heard_late
from quintet.train.loggers import LOG, Loggers
from quintet.train.prefetch import Prefetch
from quintet.train.processes import Place, fastest_precision, join
from quintet.train.replay import Replay
from quintet.train.task import Task, TrainConfig

MOST_BAD_STEPS = 5  # in a row, whose loss or gradient is no number; a few are passed over


def learning_rate(step: int, config: TrainConfig) -> float:
    """Warmup, constant, then linear decay to zero over the last `decay_fraction`."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    decay_steps = max(1, round(config.steps * config.decay_fraction))
    return config.learning_rate * min(1.0, (config.steps - step) / decay_steps)


class _Console(Console):
    """Who reads it may be gone, as `tee` after the Ctrl-C that it heard, too; training goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        with suppress(OSError, ValueError):  # or it would fail again when the process ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _progress(place: Place) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=_Console(),
        disable=not place.leads,
    )


def run(task: Task, config: TrainConfig, folder: Path, name: str) -> dict[str, float]:
    """Train `task` in `folder` to its last step and export it; the last scores.

    A finished or interrupted run in `folder` is continued, with the same losses to the last
    digit as if it had never stopped. Processes that were started together train one module.
    """
    # Half a second, for which commands that import no more than a loss need not wait.
    from quintet.train.checkpoint import Checkpoints

    assert config.precision != "auto", "a stage says what it takes"
    place = join()
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    module = task.module()
    place = task.spread(module, place)
    _tell_slow(config, name, place)
    optimizer = _optimizer(task, module, config)
    settings = asdict(config) | task.record()
    checkpoints = Checkpoints(folder, place, settings)
    first, last = checkpoints.load(module, optimizer), config.steps - 1
    loggers = Loggers(folder, name, first, config.loggers, settings, place.leads)
    module.train()
    gradients = _gradients(task, module, optimizer, config, place)
    bad_steps = 0
    with (
        checkpoints,
        loggers,
        _batches(task, first, config.steps) as next_batch,
        _progress(place) as progress,
    ):
        bar = progress.add_task(name, total=config.steps, completed=first, note="")
        with heard_late(place, name) as interrupted:
            for step in range(first, config.steps):
                values = _train_step(
                    task, module, optimizer, config, step, place, next_batch, gradients
                )
                bad_steps = 0 if _is_good(values) else bad_steps + 1
                if bad_steps:
                    values["batch"] = task.describe_batch(step)
                    _tell_bad(name, step, values["batch"], place)
                loggers.write(step, values)
                progress.update(bar, advance=1, note=f"loss {values['loss']:.4f}")
                if bad_steps == MOST_BAD_STEPS:
                    raise _lost(folder, name, step)
                done = step + 1
                if done % config.evaluate_every == 0 and step < last:
                    loggers.evaluated(step, _evaluate(task, module, done, loggers.samples(done)))
                stops = interrupted() and not bad_steps
                due = stops or done % config.checkpoint_every == 0
                if (due and not bad_steps) or step == last:
                    checkpoints.save(module, optimizer, done)
                if stops:
                    raise KeyboardInterrupt
        done = config.steps
        scores = _evaluate(task, module, done, loggers.samples(done))
        loggers.evaluated(last, scores, last=True)
    _export(task, module, folder, place)
    return scores


def _optimizer(task: Task, module: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        task.parameters(module),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
    )


@contextmanager
def _batches(task: Task, first: int, last: int) -> Iterator[Callable[[], Any]]:
    """A function that gives the batch of each step, one after another."""
    if not task.made_ahead:
        steps = iter(range(first, last))
        yield lambda: task.batch(next(steps))
        return
    with Prefetch(task.batch, first, last) as ahead:
        yield ahead.take


def _tell_slow(config: TrainConfig, name: str, place: Place) -> None:
    on_gpu = place.device.type == "cuda"
    if place.leads and config.precision == "bfloat16" and fastest_precision(on_gpu) == "float32":
        print(
            f"{name} trains in bfloat16, for which this machine is not known to have "
            "instructions; if it is slow, begin the stage anew with precision = 'float32', many "
            "times as fast without them.",
            file=sys.stderr,
        )


def _is_good(values: dict[str, Any]) -> bool:
    return math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])


def _tell_bad(name: str, step: int, batch: str, place: Place) -> None:
    if place.leads:
        print(
            f"The loss of step {step} of {name} is no number, so the step is passed over; "
            f"its batch: {batch}.",
            file=sys.stderr,
        )


def _lost(folder: Path, name: str, step: int) -> UserError:
    return UserError(
        f"From step {step + 1 - MOST_BAD_STEPS} to {step} of {name} no loss was a number, so the "
        f"run has stopped; {folder / LOG} names the samples of these steps; mend them and run it "
        "again to go on from its last checkpoint, which is from before, or delete the folder and "
        "start the stage again with a lower learning_rate."
    )


def _export(task: Task, module: nn.Module, folder: Path, place: Place) -> None:
    """The last checkpoint has whole what is divided among processes."""
    from quintet.train.checkpoint import weights

    if place.leads:
        if place.world_size > 1:
            module = task.module()
            module.load_state_dict(weights(folder), assign=True)  # it may have shapes only
        export(lambda partial: task.export(module, partial), folder)
    place.all_agree(True)  # the next stage reads them


Gradients = Callable[[Any, int], dict[str, torch.Tensor]]


def _gradients(
    task: Task,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    place: Place,
) -> Gradients:
    """What makes the losses of a step's batch, and leaves their gradients in the parameters."""

    def losses(batch: Any, step: int) -> dict[str, torch.Tensor]:
        with _precision(config, place):
            return task.losses(module, batch, step)

    def at_once(batch: Any, step: int) -> dict[str, torch.Tensor]:
        made = losses(batch, step)
        optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over the shares of the batch, whose losses are meant to be added.
        (made["loss"] * place.data_size).backward()
        return made

    if not (config.cuda_graphs and task.replayed and place.device.type == "cuda"):
        return at_once
    replay = Replay(module, partial(losses, step=0))
    return lambda batch, step: replay(batch)


def _precision(config: TrainConfig, place: Place) -> torch.autocast:
    reduced = config.precision == "bfloat16"
    return torch.autocast(place.device.type, torch.bfloat16, enabled=reduced)


def _train_step(
    task: Task,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    step: int,
    place: Place,
    next_batch: Callable[[], Any],
    gradients: Gradients,
) -> dict[str, Any]:
    started = time.perf_counter()
    rate = learning_rate(step, config)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
    task.before_step(module, step)
    if task.resets_optimizer(step):
        optimizer.state.clear()
    with _precision(config, place):
        asked = time.perf_counter()
        batch = next_batch()
        waited = time.perf_counter() - asked
    losses = gradients(batch, step)
    norm = _clip(optimizer, config.clip, place)
    values = place.add_up({key: float(value.detach()) for key, value in losses.items()})
    values |= {"gradient_norm": float(norm), "learning_rate": rate}
    if _is_good(values):  # one bad batch must not poison the weights
        optimizer.step()
    seconds = time.perf_counter() - started
    # Of the step's time, the share that was spent waiting for its batch.
    return values | {"seconds": seconds, "waiting": waited / seconds}


def _clip(optimizer: torch.optim.Optimizer, limit: float, place: Place) -> torch.Tensor:
    """Clip the gradient's norm, of each part by itself; the norm of the first.

    Groups of parameters that name no "part" are one; an adversary is another, whose large
    gradients must not shrink those of what it judges.
    """
    parts: dict[str, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        parts.setdefault(group.get("part", ""), []).extend(group["params"])
    norms = [place.clip(parameters, limit) for parameters in parts.values()]
    return norms[0] if all(torch.isfinite(norm) for norm in norms) else torch.tensor(torch.nan)


def _evaluate(task: Task, module: nn.Module, done: int, samples: Path) -> dict[str, Any]:
    """Scores with the random state untouched, so evaluating never changes the training."""
    state = torch.get_rng_state()
    shutil.rmtree(samples, ignore_errors=True)  # what a killed run may have left half done
    module.eval()
    with torch.no_grad():
        scores = task.evaluate(module, done)
        task.show(module, samples)
    module.train()
    torch.set_rng_state(state)
    return {f"eval/{key}": value for key, value in scores.items()}
