"""The only training loop: steps, schedule, clipping, log, checkpoints, exact resumption."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from quintet.config import UserError
from quintet.train.task import Task, TrainConfig

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
SAMPLES = "samples"  # what a person may see or hear, by step
MAY_CHANGE = {"checkpoint_every", "evaluate_every", "threads"}  # settings, when a run goes on


def learning_rate(step: int, config: TrainConfig) -> float:
    """Warmup, constant, then linear decay to zero over the last `decay_fraction`."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    decay_steps = max(1, round(config.steps * config.decay_fraction))
    return config.learning_rate * min(1.0, (config.steps - step) / decay_steps)


def save_checkpoint(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    settings: dict[str, Any],
) -> None:
    """Write atomically, so that a kill at any moment leaves a whole checkpoint."""
    state = {
        "step": step,
        "config": settings,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
    }
    partial = folder / (CHECKPOINT + ".partial")
    torch.save(state, partial)
    partial.replace(folder / CHECKPOINT)


def _check_settings(path: Path, made_with: dict[str, Any], settings: dict[str, Any]) -> None:
    """A run that went on with other settings would be neither the old one nor the new one."""
    for name, now in settings.items():
        # A setting that is younger than the checkpoint has no record there.
        if name not in MAY_CHANGE and made_with.get(name, now) != now:
            raise UserError(
                f"{path} was made with {name} = {made_with[name]} and the recipe now says {now}; "
                f"restore that setting, or delete {path.parent} to start the stage again."
            )


def load_checkpoint(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> int:
    """Restore what `save_checkpoint` wrote; the step to go on with (0 if there is none).

    Raises:
        UserError: the checkpoint is damaged, or was made with other settings or another shape.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        _check_settings(path, state.get("config", {}), settings)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
    except UserError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} does not fit this stage ({reason}); "
            "delete that folder to start the stage again, or restore the preset it was made with."
        ) from None
    torch.set_rng_state(state["random"])
    return int(state["step"])


class _Log:
    """One JSON object a line; lines past a resumed step are cut, as they will be written again."""

    def __init__(self, path: Path, step: int) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        if lines and not _is_whole(lines[-1]):
            lines.pop()
        kept = [line for line in lines if json.loads(line)["step"] < step]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(line + "\n" for line in kept))
        partial.replace(path)
        self.file = path.open("a", buffering=1)

    def write(self, step: int, values: dict[str, float]) -> None:
        self.file.write(json.dumps({"step": step, **values}) + "\n")


def _is_whole(line: str) -> bool:
    """Whether a line of the log was written to its end; a kill may have cut the last."""
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )


def run(task: Task, config: TrainConfig, folder: Path, name: str) -> dict[str, float]:
    """Train `task` in `folder` to its last step and export it; the last scores.

    A finished or interrupted run in `folder` is continued, with the same losses to the last
    digit as if it had never stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    module = task.module()
    optimizer = torch.optim.AdamW(
        task.parameters(module),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
    )
    settings = asdict(config) | task.record()
    first = load_checkpoint(folder, module, optimizer, settings)
    log = _Log(folder / LOG, first)
    module.train()
    with _progress() as progress:
        bar = progress.add_task(name, total=config.steps, completed=first, note="")
        for step in range(first, config.steps):
            values = _train_step(task, module, optimizer, config, step)
            log.write(step, values)
            progress.update(bar, advance=1, note=f"loss {values['loss']:.4f}")
            done = step + 1
            if done % config.evaluate_every == 0 and done < config.steps:
                log.write(step, _evaluate(task, module, folder / SAMPLES / f"{done:06}"))
            if done % config.checkpoint_every == 0 or done == config.steps:
                save_checkpoint(folder, module, optimizer, done, settings)
    scores = _evaluate(task, module, folder / SAMPLES / f"{config.steps:06}")
    _export(task, module, folder)
    return scores


def _export(task: Task, module: nn.Module, folder: Path) -> None:
    """By way of a folder of its own, so that a kill leaves no half file under a final name."""
    partial = folder / "export.partial"
    partial.mkdir(exist_ok=True)
    task.export(module, partial)
    for path in partial.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner alone, but these are to be shared
        path.replace(folder / path.name)
    partial.rmdir()


def _train_step(
    task: Task, module: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig, step: int
) -> dict[str, float]:
    started = time.perf_counter()
    rate = learning_rate(step, config)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
    task.before_step(module, step)
    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
        losses = task.losses(module, task.batch(step), step)
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    norm = _clip(optimizer, config.clip)
    if torch.isfinite(norm):  # one bad batch must not poison the weights
        optimizer.step()
    values = {key: float(value.detach()) for key, value in losses.items()}
    seconds = time.perf_counter() - started
    return values | {"gradient_norm": float(norm), "learning_rate": rate, "seconds": seconds}


def _clip(optimizer: torch.optim.Optimizer, limit: float) -> torch.Tensor:
    """Clip the gradient's norm, of each part by itself; the norm of the first.

    Groups of parameters that name no "part" are one; an adversary is another, whose large
    gradients must not shrink those of what it judges.
    """
    parts: dict[str, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        parts.setdefault(group.get("part", ""), []).extend(group["params"])
    norms = [nn.utils.clip_grad_norm_(parameters, limit) for parameters in parts.values()]
    return norms[0] if all(torch.isfinite(norm) for norm in norms) else torch.tensor(torch.nan)


def _evaluate(task: Task, module: nn.Module, samples: Path) -> dict[str, Any]:
    """Scores with the random state untouched, so evaluating never changes the training."""
    state = torch.get_rng_state()
    module.eval()
    with torch.no_grad():
        scores = task.evaluate(module)
        task.show(module, samples)
    module.train()
    torch.set_rng_state(state)
    return {f"eval/{key}": value for key, value in scores.items()}
