"""A stage goes on from a finished model, as recipes/further.toml does from the bundled one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import needs_world, run
from mistakes import check_told
from safetensors.torch import load_file, save_file

import quintet
from quintet.config import UserError
from quintet.stages.recipe import Recipe, run_stage
from quintet.stages.record import TAKEN
from quintet.tokenizers.folders import BUNDLED

SMALL = """
preset = "small.toml"
tokenizers = "{model}"
[[stages]]
name = "documents"
shard_size = 8
pictures_each = 1
processes = 1
shards = {{ instruct = 2 }}
[[stages]]
name = "instruct"
start_from = "{model}"
held_out = 4
train = {{ steps = 1, batch_size = 2, learning_rate = 1e-12 }}
[[stages]]
name = "release"
model = "instruct"
about = "A test."
"""


@pytest.fixture(params=["here", "from the root"])
def recipe(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any
) -> Path:
    """A recipe, in the working directory, that goes on from a small model, by either path."""
    shutil.copytree(model_folder, tmp_path / "begun")
    values = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    lines = ['name = "small"']
    for name in ("model", "live"):
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values[name].items()]
    (tmp_path / "small.toml").write_text("\n".join(lines))
    path = tmp_path / "mine.toml"
    model = "begun" if request.param == "here" else str(tmp_path / "begun")
    path.write_text(SMALL.format(model=model))
    monkeypatch.chdir(tmp_path)
    return path


@needs_world
def test_a_stage_begins_with_the_weights_of_a_model(recipe: Path, model_folder: Path) -> None:
    assert run("train", recipe) == 0
    begun, made = (load_file(folder / "model.safetensors")
                   for folder in (model_folder, Path("runs/mine/instruct")))  # fmt: skip
    assert begun.keys() <= made.keys()
    for name, weight in begun.items():  # which are stored in half precision
        torch.testing.assert_close(made[name], weight.float(), atol=1e-3, rtol=1e-3)
    model = quintet.load(Path("runs/mine/release/model"))
    other = quintet.load(model_folder)
    assert model.tokenizers.fingerprint() == other.tokenizers.fingerprint()
    assert "Trained from the model begun by" in " ".join(model.card.split())
    # The name comes to mean another model, of which this stage was not made.
    _refused_if_changed(
        "model.safetensors",
        recipe,
        "'instruct' was made with the weights of a model that has changed",
    )
    # Or one with other tokenizers, whose codes are not those of these documents.
    _refused_if_changed(
        "audio_tokenizer.safetensors", recipe, "'documents' was made with the tokenizers of a model"
    )


@needs_world
def test_what_was_made_before_models_were_recorded_goes_on(recipe: Path) -> None:
    assert run("train", recipe) == 0
    for path in Path("runs/mine").glob("*/settings.json"):
        before = json.loads(path.read_text())
        for name in TAKEN:
            before.pop(name, None)
        path.write_text(json.dumps(before))
    card = (Path("runs/mine/release/model") / "README.md").read_text()
    shutil.rmtree("runs/mine/release")
    assert run("train", recipe) == 0
    assert (Path("runs/mine/release/model") / "README.md").read_text() == card


def _refused_if_changed(file: str, recipe: Path, told: str) -> None:
    path = recipe.parent / "begun" / file
    changed = {name: weight + 1 for name, weight in load_file(path).items()}
    save_file(changed, path)
    with pytest.raises(UserError, match=told):
        for stage in Recipe.load(str(recipe), Path("runs")).stages:
            run_stage(stage)


def test_the_bundled_model_is_one_to_go_on_from() -> None:
    further = {stage.name: stage for stage in Recipe.load("further", Path("runs")).stages}
    assert further["further"].start("describe") == BUNDLED / "nano" / "model.safetensors"


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('tokenizers = "{model}"', 'tokenizers = "nano"', "set tokenizers = "),
        (
            'start_from = "{model}"',
            'start_from = "nowhere"',
            "'nowhere', which is no earlier .* There is no model",
        ),
        ('start_from = "{model}"', 'start_from = "."', "'.', which .* holds no config.json"),
        ('preset = "small.toml"', 'preset = "nano"', "other sizes than the preset 'nano'"),
    ],
)
def test_a_model_that_cannot_be_started_from_is_told(
    right: str, wrong: str, told: str, recipe: Path
) -> None:
    text = recipe.read_text()
    (model,) = re.findall('tokenizers = "(.*)"', text)
    check_told(text, right.format(model=model), wrong, told, recipe.parent)
