"""The mean of stages: right to the last bits, refused where it has no meaning, gone on from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import make_config, make_model
from mistakes import check_told
from safetensors.torch import load_file, save_file

from quintet.config import UserError
from quintet.stages import average
from quintet.stages.context import MODEL_FILE, Context
from quintet.stages.recipe import RECIPES, Recipe

STAGES = ("settle", "heed", "tally")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    for seed, stage in enumerate(STAGES):
        (tmp_path / stage).mkdir()
        save_file(make_model(make_config(), seed).state_dict(), tmp_path / stage / MODEL_FILE)
    return Context("blend", make_config(), {"stage": "average", "of": list(STAGES)}, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_it_is_the_mean_in_float32(context: Context, dtype: torch.dtype) -> None:
    paths = [context.run_folder / stage / MODEL_FILE for stage in STAGES]
    for path in paths:
        save_file({name: weight.to(dtype) for name, weight in load_file(path).items()}, path)
    assert average.run(context) == {"stages": 3.0}
    parts = [load_file(path) for path in paths]
    made = load_file(context.folder / MODEL_FILE)
    assert made.keys() == parts[0].keys()
    for name, weight in made.items():
        assert weight.dtype == torch.float32
        expected = torch.stack([part[name].double() for part in parts]).mean(0).float()
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-7)
    assert any(not torch.equal(made[name], parts[0][name]) for name in made)


def test_one_that_is_gone_or_of_another_shape_is_told(context: Context) -> None:
    save_file({"head.weight": torch.zeros(3)}, context.run_folder / "heed" / MODEL_FILE)
    with pytest.raises(UserError, match="heed"):
        average.run(context)
    (context.run_folder / "settle" / MODEL_FILE).unlink()
    with pytest.raises(UserError, match="which stage 'settle' makes; run that stage first"):
        average.run(context)
    assert not (context.folder / MODEL_FILE).exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('of = ["realtime", "later"]', "has of = 'later', which is no earlier stage"),
        ('of = ["documents", "prefer"]', "has of = 'documents', which is no earlier stage of the"),
        ('of = ["realtime"]', "name two or more, each once"),
        ('of = ["prefer", "prefer"]', "name two or more, each once"),
        ("", "name two or more, each once"),
        ('of = "prefer"', "make it a list of texts in quotes"),
    ],
)
def test_a_mistaken_list_is_told(wrong: str, told: str, tmp_path: Path) -> None:
    text = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
    check_told(text, 'of = ["realtime", "prefer"]', wrong, told, tmp_path)


def test_a_later_stage_can_go_on_from_it(tmp_path: Path) -> None:
    text = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
    again = """[[stages]]
name = "again"
stage = "realtime"
start_from = "average"

[[stages]]
name = "release\""""
    (tmp_path / "mine.toml").write_text(text.replace('[[stages]]\nname = "release"', again))
    stages = {s.name: s for s in Recipe.load(str(tmp_path / "mine.toml"), tmp_path).stages}
    folder = tmp_path / "mine" / "average"
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).touch()
    assert stages["again"].start("describe") == folder / MODEL_FILE
