"""The setting `turn_weight`, from a recipe to the loss."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import make_config, make_model, make_samples

from quintet.stages import realtime
from quintet.stages.context import Context
from quintet.stages.omni_task import OmniTask
from quintet.train import TrainConfig

SETTINGS = TrainConfig(steps=1, batch_size=2)


@torch.no_grad()
def test_it_is_in_the_loss_that_trains_and_beside_that_which_compares() -> None:
    samples, model = make_samples(4), make_model(make_config())
    found = {}
    for weight in (0.0, 2.0):
        task = OmniTask(
            make_config(), SETTINGS, samples, samples, None, text_weight=4.0, turn_weight=weight
        )
        found[weight] = task.losses(model, task.batch(0), 0), task.evaluate(model, 0)
    (plain, judged), (weighed, judged_too) = found[0.0], found[2.0]
    assert float(weighed["loss"]) == pytest.approx(
        float(plain["loss"]) + 2 * float(weighed["turn"]), rel=1e-5
    )
    assert float(weighed["turn"]) > 0 and "turn" not in plain
    turn = judged_too.pop("turn")
    assert turn > 0 and judged_too == pytest.approx(judged)


@pytest.mark.parametrize(("asked", "weight"), [({}, 0.0), ({"turn_weight": 3.0}, 3.0)])
def test_the_stage_takes_it_from_its_recipe(
    asked: dict[str, Any], weight: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"stage": "realtime", "train": {"steps": 1, "batch_size": 2}, **asked}
    context = Context("realtime", make_config(), settings, tmp_path)
    tasks: list[OmniTask] = []
    monkeypatch.setattr(realtime, "samples_of", lambda *_: make_samples(4))
    monkeypatch.setattr(realtime, "mixed_in", lambda *_: [])
    monkeypatch.setattr(realtime, "check_counts", lambda *_: None)
    monkeypatch.setattr(realtime, "Shown", lambda _: SimpleNamespace(scene=None))
    monkeypatch.setattr(Context, "start", lambda *_: None)
    monkeypatch.setattr(realtime.train, "run", lambda task, *_: tasks.append(task) or {})
    realtime.run(context)
    assert tasks[0].turn_weight == weight
