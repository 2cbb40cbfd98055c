"""What `precision = "auto"` is: the faster one where the stage trains, until its end."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_config
from short_runs import SETTINGS, omni

from quintet import train
from quintet.stages.context import ON_CPU, Context, recorded
from quintet.stages.recipe import STAGES, Recipe
from quintet.stages.record import record
from quintet.train import Task, TrainConfig
from quintet.train.processes import fastest_precision

AUTO = {"steps": 2, "batch_size": 2, "precision": "auto"}
TRAINED = [
    stage
    for stage in STAGES
    if TrainConfig in importlib.import_module(f"quintet.stages.{stage}").SETTINGS.values()
]


def _machine(
    patch: pytest.MonkeyPatch, gpu: tuple[int, int] | None, tiles: bool, products: bool
) -> None:
    patch.setattr("torch.cuda.is_available", lambda: gpu is not None)
    patch.setattr("torch.cuda.get_device_capability", lambda index: gpu)
    patch.setattr("torch.cpu._is_amx_tile_supported", lambda: tiles)
    patch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: products)


@pytest.mark.parametrize(
    ("gpu", "tiles", "products", "on_cpu", "elsewhere"),
    [
        (None, False, False, "float32", "float32"),
        (None, True, False, "bfloat16", "bfloat16"),
        (None, False, True, "bfloat16", "bfloat16"),
        ((8, 0), False, False, "float32", "bfloat16"),
        ((9, 0), False, False, "float32", "bfloat16"),
        ((7, 5), True, True, "bfloat16", "float32"),
    ],
)
def test_the_device_that_trains_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpu, tiles, products, on_cpu, elsewhere
) -> None:
    _machine(monkeypatch, gpu, tiles, products)
    for stage in TRAINED:
        key = "recognizer" if stage == "judges" else "train"
        context = Context(stage, make_config(), {"stage": stage, key: AUTO}, tmp_path)
        taken = on_cpu if stage in ON_CPU else elsewhere
        assert context.train_table(key).precision == taken, stage


def test_which_stages_train_on_the_processor() -> None:
    """Those whose tasks are not spread."""
    for stage in TRAINED:  # but for those that import their tasks late, or have another's
        module = importlib.import_module(f"quintet.stages.{stage}")
        tasks = [
            one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Task)
        ]
        if tasks:
            spread = any(task.spread is not Task.spread for task in tasks)
            assert spread == (stage not in ON_CPU), stage


def test_a_stage_that_has_begun_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where another recipe or another machine began it."""
    (trained,) = Recipe.load("tiny", tmp_path).only("pretrain")
    table = trained.settings["train"]
    auto = replace(trained, settings=trained.settings | {"train": table | {"precision": "auto"}})
    for tiles, other in ((False, True), (True, False)):
        _machine(monkeypatch, None, tiles, False)
        taken = auto.train.precision
        record(auto)
        assert recorded(auto.folder)["train.precision"] == taken
        _machine(monkeypatch, None, other, False)
        assert auto.train.precision == taken
        (auto.folder / "settings.json").unlink()
        assert auto.train.precision != taken


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tiles", [False, True])
def test_what_may_be_slow_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys, precision: str, tiles: bool
) -> None:
    _machine(monkeypatch, None, tiles, False)
    settings = replace(SETTINGS, steps=1, precision=precision)
    train.run(omni(settings), settings, tmp_path, "mine")
    slow = precision == "bfloat16" and not tiles
    assert ("mine trains in bfloat16, for which" in capsys.readouterr().err) == slow


def test_this_machine_is_asked_as_pytorch_has_it() -> None:
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    assert all(callable(getattr(torch.cpu, name)) for name in names)
    assert fastest_precision(False) in ("float32", "bfloat16")
