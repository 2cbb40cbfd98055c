"""What is released, and what its card says of where the weights come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_config, make_model, make_tokenizers
from safetensors.torch import load_file, save_file

from quintet.live.pretrained import Quintet
from quintet.stages import release
from quintet.stages.context import MODEL_FILE, Context, recorded
from quintet.tokenizers.folders import AUDIO_FILE, IMAGE_FILE, TEXT_FILE
from quintet.tokenizers.weight_files import load_weights

STAGES = {"settle": "practice", "heed": "settle"}  # and what they went on from
TOKENIZERS = {
    "text_tokenizer": TEXT_FILE, "audio_tokenizer": AUDIO_FILE, "image_tokenizer": IMAGE_FILE
}  # fmt: skip


def _record(folder: Path, **made_with: Any) -> None:
    (folder / "settings.json").write_text(json.dumps(made_with))


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    for seed, (stage, before) in enumerate(STAGES.items()):
        (tmp_path / stage).mkdir()
        save_file(make_model(make_config(), seed).state_dict(), tmp_path / stage / MODEL_FILE)
        _record(tmp_path / stage, stage="realtime", start_from=before)
    (tmp_path / "practice").mkdir()
    _record(tmp_path / "practice", stage="pretrain")
    for stage, file in TOKENIZERS.items():
        (tmp_path / stage).mkdir()
        (tmp_path / stage / file).touch()

    def assemble(weights: Path, *_: Any) -> Quintet:
        model = make_model(make_config())
        load_weights(model, weights)
        return Quintet(model, make_tokenizers(make_config()))

    monkeypatch.setattr(release, "assemble", assemble)
    return Context("release", make_config(), {"stage": "release", "model": "heed"}, tmp_path)


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: weight.float() for name, weight in load_file(path).items()}


def test_one_stage_alone_is_no_mean(context: Context) -> None:
    release.run(context)
    made, stage = context.folder / "model" / MODEL_FILE, context.run_folder / "heed" / MODEL_FILE
    expected = {name: weight.half().float() for name, weight in _weights(stage).items()}
    for name, weight in _weights(made).items():
        assert torch.equal(weight, expected[name])
    assert "mean" not in (context.folder / "model" / "README.md").read_text()


def _card(context: Context) -> str:
    release.run(context)
    return " ".join((context.folder / "model" / "README.md").read_text().split())


FROM_NANO = {"stage": "realtime", "start_from": "somewhere/nano"}
FROM_SETTLE = {"stage": "realtime", "start_from": "settle"}
WEIGHTS = {"start_from_weights": ["a digest"]}  # which earlier versions did not record


@pytest.mark.parametrize(
    ("heed", "start"),
    [
        (FROM_SETTLE, "nothing"),
        (FROM_NANO | WEIGHTS, "nothing and the model nano"),
        (FROM_NANO, "nothing and the model nano"),
    ],
)
def test_a_mean_tells_of_which_stages_it_is(
    context: Context, heed: dict[str, Any], start: str
) -> None:
    _blend(context, heed)
    told = _card(context)
    assert f"Trained from {start} by `quintet train" in told
    assert "The weights are the mean of those of the stages `settle`, `heed`." in told


def _blend(context: Context, heed: dict[str, Any]) -> None:
    shutil.copytree(context.run_folder / "settle", context.run_folder / "blend")
    _record(context.run_folder / "blend", stage="average", of=["settle", "heed"])
    _record(context.run_folder / "heed", **heed)
    context.settings["model"] = "blend"


@pytest.mark.parametrize(
    ("heed", "start"),
    [
        # A model that has the name of a stage is known by its weights.
        (FROM_SETTLE | WEIGHTS, "the model settle"),
        ({"stage": "pretrain"}, "nothing"),
        ({"stage": "internalize"}, "nothing"),  # which goes on from nothing unless told to
        ({"stage": "describe"}, "an unknown start"),  # from its usual one, which is not there
        ({}, "an unknown start"),
        (None, "an unknown start"),
    ],
)
def test_what_one_stage_went_on_from(
    context: Context, heed: dict[str, Any] | None, start: str
) -> None:
    _record(context.run_folder / "heed", **heed or {})
    if heed is None:
        (context.run_folder / "heed" / "settings.json").unlink()
    assert f"Trained from {start} by `quintet train" in _card(context)


@pytest.mark.parametrize(
    ("heed", "start"),
    [
        (FROM_SETTLE, "an unknown start"),
        ({"stage": "pretrain"}, "nothing and an unknown start"),
        (FROM_NANO | WEIGHTS, "an unknown start and the model nano"),
    ],
)
def test_a_later_stage_without_a_record_is_not_nothing(
    context: Context, heed: dict[str, Any], start: str
) -> None:
    _blend(context, heed)
    (context.run_folder / "practice" / "settings.json").unlink()
    assert f"Trained from {start} by `quintet train" in _card(context)


def test_every_stage_is_asked_once(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many went on from it."""
    _blend(context, {"stage": "realtime", "start_from": "practice"})
    asked: list[str] = []

    def counting(folder: Path) -> dict[str, Any]:
        asked.append(folder.name)
        return recorded(folder)

    monkeypatch.setattr(release, "recorded", counting)
    assert release._start(context) == "nothing"
    assert asked == ["blend", "settle", "heed", "practice"]
