"""What a stage is made with may not change in the middle of it, whatever kind of stage it is."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import make_config, make_model, make_samples
from safetensors.torch import save_file

from quintet.config import UserError
from quintet.stages import documents, realtime
from quintet.stages.context import MODEL_FILE, RECORD, SCORES, Context
from quintet.stages.omni_task import OmniTask
from quintet.stages.recipe import STAGES, Recipe, is_finished, run_stage
from quintet.stages.record import record
from quintet.train import TrainConfig
from quintet.train.task import CHECKPOINTS, MAY_CHANGE

TRAINED = {
    stage: [key for key, kind in settings.items() if kind is TrainConfig]
    for stage in STAGES
    if TrainConfig in (settings := importlib.import_module(f"quintet.stages.{stage}").SETTINGS)
    .values()
}  # fmt: skip


def _begun(stage: str, folder: Path) -> Context:
    """A stage of the tiny recipe as a kill leaves it."""
    (context,) = Recipe.load("tiny", folder).only(stage)
    record(context)
    inner = "" if TRAINED[stage] == ["train"] else TRAINED[stage][0]
    (context.folder / inner / CHECKPOINTS / "00000002").mkdir(parents=True)
    return context


def _with(context: Context, key: str, value: Any) -> Context:
    return replace(context, settings=context.settings | {key: value})


@pytest.mark.parametrize("stage", TRAINED)
def test_no_kind_of_stage_goes_on_with_other_settings(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _begun(stage, tmp_path)
    module = importlib.import_module(f"quintet.stages.{stage}")
    monkeypatch.setattr(module, "run", lambda context: pytest.fail("it goes on"))
    before = (context.folder / RECORD).read_bytes()
    for key in module.SETTINGS.keys() - set(TRAINED[stage]):
        with pytest.raises(UserError, match=f"made with {key}.* = .* says 'other'.*delete .*again"):
            run_stage(_with(context, key, "other"))
    for key in TRAINED[stage]:
        table = context.settings[key] | {"learning_rate": 0.5}
        with pytest.raises(UserError, match=f"made with {key}.learning_rate = .* now says 0.5"):
            run_stage(_with(context, key, table))
    if stage != "judges":  # which know nothing of the preset
        table = "image" if stage == "image_tokenizer" else "audio"
        other = replace(getattr(context.preset, table), codebook_size=8)
        preset = replace(context.preset, **{table: other})
        with pytest.raises(UserError, match=f"made with preset.{table}.codebook_size = "):
            run_stage(replace(context, preset=preset))
    assert (context.folder / RECORD).read_bytes() == before


@pytest.mark.parametrize("stage", TRAINED)
def test_every_kind_of_stage_goes_on_in_another_rhythm_and_begins_with_any_settings(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _begun(stage, tmp_path)
    module = importlib.import_module(f"quintet.stages.{stage}")
    monkeypatch.setattr(module, "run", lambda context: {"done": 1.0})
    rhythm = {"checkpoint_every": 3, "evaluate_every": 7, "threads": 2}
    assert rhythm.keys() <= MAY_CHANGE
    key = TRAINED[stage][0]
    assert run_stage(_with(context, key, context.settings[key] | rhythm)) == {"done": 1.0}
    (context.folder / SCORES).unlink()
    whole = next(context.folder.rglob("00000002"))
    whole.rename(whole.with_suffix(".partial"))  # as if it had died before
    table = context.settings[key] | {"learning_rate": 0.5}
    assert run_stage(_with(context, key, table)) == {"done": 1.0}
    recorded = json.loads((context.folder / RECORD).read_text())
    assert recorded[f"{key}.learning_rate"] == 0.5


def test_a_killed_training_is_not_taken_up_with_other_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one, of the transformer, which has a checkpoint when it dies."""
    settings = {
        "stage": "realtime", "windowed": True, "text_weight": 4.0,
        "train": {"steps": 4, "batch_size": 2, "checkpoint_every": 2},
    }  # fmt: skip
    context = Context("realtime", make_config(), settings, tmp_path)
    (tmp_path / "describe").mkdir()
    save_file(make_model(context.preset).state_dict(), tmp_path / "describe" / MODEL_FILE)
    monkeypatch.setattr(realtime, "samples_of", lambda context, kind: make_samples(4))
    losses: Callable[..., Any] = OmniTask.losses

    def die(task: OmniTask, module: Any, batch: Any, step: int) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return losses(task, module, batch, step)

    monkeypatch.setattr(OmniTask, "losses", die)
    with pytest.raises(KeyboardInterrupt):
        run_stage(context)
    with pytest.raises(UserError, match=r"made with text_weight = 4.0 and the recipe now says 1.0"):
        run_stage(_with(context, "text_weight", 1.0))
    with pytest.raises(UserError, match=r"made with preset.live.window_steps = 8 .* says 4"):
        run_stage(replace(context, preset=make_config(window_steps=4)))
    with pytest.raises(KeyboardInterrupt):  # with its own it goes on
        run_stage(context)


def test_documents_that_grow_and_are_killed_are_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (context,) = Recipe.load("tiny", tmp_path).only("documents")
    monkeypatch.setattr(documents, "run", lambda context: {"made": 1.0})
    run_stage(context)
    more = _with(context, "shards", {kind: 9 for kind in context.settings["shards"]})
    monkeypatch.setattr(documents, "run", lambda context: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run_stage(more)
    assert not is_finished(more)
    monkeypatch.setattr(documents, "run", lambda context: {"made": 9.0})
    assert run_stage(more) == {"made": 9.0} and is_finished(more)


def test_documents_of_which_none_is_made_take_any_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (context,) = Recipe.load("tiny", tmp_path).only("documents")
    record(context)
    monkeypatch.setattr(documents, "run", lambda context: {"made": 1.0})
    smaller = _with(context, "shard_size", 3)
    assert run_stage(smaller) == {"made": 1.0}
    (context.folder / SCORES).unlink()
    shard = documents.shard_path(context.folder, "pretrain", 0)
    shard.parent.mkdir()
    shard.touch()
    with pytest.raises(UserError, match="made with shard_size = 3"):
        run_stage(context)


def test_a_text_tokenizer_that_is_kept_takes_no_other_settings(tmp_path: Path) -> None:
    (context,) = Recipe.load("tiny", tmp_path).only("text_tokenizer")
    scores = run_stage(context)
    (context.folder / SCORES).unlink()  # as if it had died after its export
    with pytest.raises(UserError, match=r"made with characters = .* now says 'abcdef'"):
        run_stage(_with(context, "characters", "abcdef"))
    assert run_stage(context) == scores
