"""What is released: a stage's weights, or their mean with an earlier one's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_config, make_model, make_tokenizers
from mistakes import check_told
from safetensors.torch import load_file, save_file

from quintet.config import UserError
from quintet.live.pretrained import Quintet
from quintet.stages import release
from quintet.stages.context import MODEL_FILE, Context
from quintet.stages.recipe import RECIPES


def _context(folder: Path, **settings: str) -> Context:
    for value, stage in enumerate(("settle", "heed")):
        (folder / stage).mkdir()
        save_file({"weight": torch.full((3,), float(value))}, folder / stage / MODEL_FILE)
    (folder / "release").mkdir()
    return Context("release", make_config(), {"stage": "release", **settings}, folder)


@pytest.mark.parametrize(("settings", "value"), [({}, 1.0), ({"averaged_with": "settle"}, 0.5)])
def test_the_mean_of_two_stages_or_one_of_them(
    settings: dict[str, str], value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[dict[str, torch.Tensor]] = []

    def assemble(weights: Path, *_: Any) -> Quintet:
        released.append(load_file(weights))
        return Quintet(make_model(make_config()), make_tokenizers(make_config()))

    monkeypatch.setattr(release, "assemble", assemble)
    monkeypatch.setattr(
        Context, "made_by", lambda self, stage, file: self.run_folder / stage / file
    )
    release.run(_context(tmp_path, model="heed", **settings))
    assert torch.equal(released[0]["weight"], torch.full((3,), value))


def test_only_an_earlier_stage_can_be_averaged_with(tmp_path: Path) -> None:
    text = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
    right, wrong = 'model = "prefer"', 'model = "prefer"\naveraged_with = "later"'
    check_told(text, right, wrong, "averaged_with = 'later', which is no earlier stage", tmp_path)
    with pytest.raises(UserError, match="which stage 'settle' makes"):
        context = Context("release", make_config(), {"model": "settle"}, tmp_path)
        release.run(context)
