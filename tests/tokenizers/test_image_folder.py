"""An image tokenizer is of use by itself: saved, found, loaded and refused as a folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config, needs_world
from safetensors.torch import load_file

import quintet
from quintet.config import UserError
from quintet.data.world.pictures import render_picture
from quintet.data.world.things import THINGS
from quintet.tokenizers import folders, image_folder
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.codec_folder import save_codec
from quintet.tokenizers.image import ImageTokenizer, to_images
from quintet.tokenizers.image_folder import (
    load_image_tokenizer,
    push_image_tokenizer,
    save_image_tokenizer,
)
from quintet.train.structure import psnr


@pytest.fixture
def tokenizer() -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer(make_config().image)


@pytest.fixture
def folder(tokenizer: ImageTokenizer, tmp_path: Path) -> Path:
    save_image_tokenizer(tokenizer, tmp_path / "pictures", "# Pictures")
    return tmp_path / "pictures"


def test_saved_and_loaded_is_the_same(tokenizer: ImageTokenizer, folder: Path) -> None:
    names = {"config.json", "image_tokenizer.safetensors", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    assert json.loads((folder / "config.json").read_text())["kind"] == "image_tokenizer"
    assert (folder / "README.md").read_text() == "# Pictures"
    again = quintet.load_image_tokenizer(folder)
    assert again.config == tokenizer.config and not again.training and tokenizer.training
    expected = tokenizer.state_dict()
    assert expected.keys() == again.state_dict().keys()
    for name, value in again.state_dict().items():
        assert torch.equal(value, expected[name].half().float()), name
    ids = again.encode(torch.rand(1, 3, 18, 12))
    assert ids.shape == (1, 3, 2) and again.decode(ids).shape == (1, 3, 18, 12)


def test_without_a_card_none_is_written(tokenizer: ImageTokenizer, tmp_path: Path) -> None:
    save_image_tokenizer(tokenizer, tmp_path)
    assert not (tmp_path / "README.md").exists()


def test_a_models_folder_gives_its_image_tokenizer(model_folder: Path, tmp_path: Path) -> None:
    mine, whole = load_image_tokenizer(model_folder), quintet.load(model_folder).tokenizers.image
    for left, right in zip(mine.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(left, right)
    for part in ("config.json", "image_tokenizer.safetensors"):  # nothing else of it is read
        (tmp_path / part).write_bytes((model_folder / part).read_bytes())
    assert load_image_tokenizer(tmp_path).config == mine.config


def test_the_bundled_tokenizer_loads_without_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "quintet.live", None)
    monkeypatch.setitem(sys.modules, "quintet.model.omni", None)
    assert quintet.load_image_tokenizer().config.patch == 6


def _refusal(name: str | Path) -> str:
    with pytest.raises(UserError) as told:
        load_image_tokenizer(name)
    message = str(told.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_damaged_folders_are_told_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    assert "no model 'nonsense'" in _refusal("nonsense")
    assert "name of the model is empty" in _refusal("")
    assert "config.json" in _refusal(tmp_path)
    weights, path = folder / "image_tokenizer.safetensors", folder / "config.json"
    good = json.loads(path.read_text())
    for image, told in [
        (5, "put a table there"), ({**good["image"], "colour": 3}, "colour"),
        ({**good["image"], "strides": 5}, "list of whole"),
        ({**good["image"], "channels": "many"}, "a whole number"),
        ({**good["image"], "codebook_size": -1}, "codebook_size"),
        ({**good["image"], "latent_dim": 5}, "another shape"),
        ({**good["image"], "codebook_size": 10**7}, "another shape"),  # and costs nothing
        ({**good["image"], "codebook_size": 10**12}, "at most"),
        ({**good["image"], "residual_blocks": 10**9}, "at most"),
    ]:  # fmt: skip
        path.write_text(json.dumps({**good, "image": image}))
        assert told in _refusal(folder)
    for content, told in [("{", "not JSON"), ("[]", "no image tok"), ("{}", "no image tok")]:
        path.write_text(content)
        assert told in _refusal(folder)
    path.write_text(json.dumps(good))
    whole = weights.read_bytes()
    for damaged in (b"12345", whole[: len(whole) // 2], b""):
        weights.write_bytes(damaged)
        assert "damaged" in _refusal(folder)
    weights.unlink()
    assert "no file" in _refusal(folder)


def test_a_codec_is_not_taken_for_an_image_tokenizer(tmp_path: Path) -> None:
    save_codec(AudioTokenizer(make_config().audio), tmp_path)
    assert "describes no image tokenizer" in _refusal(tmp_path)


def test_an_image_tokenizer_is_taken_for_nothing_else(folder: Path) -> None:
    with pytest.raises(UserError, match=r"is an image tokenizer, not a whole .*pictures alone"):
        quintet.load(folder)
    with pytest.raises(UserError, match="describes no audio tokenizer"):
        quintet.load_codec(folder)


def test_from_the_hub_only_the_tokenizer_is_fetched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr(folders, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    assert load_image_tokenizer("someone/pictures").config.codebook_size == 16
    assert asked == [["config.json", "image_tokenizer.safetensors", "README.md"]]


def test_it_is_pushed_as_its_folder(
    tokenizer: ImageTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: dict[str, object] = {}

    def upload(folder: Path, repository: str) -> None:
        card = (folder / "README.md").read_text()
        pushed[repository] = (load_image_tokenizer(folder).config, card)

    monkeypatch.setattr(image_folder, "upload", upload)
    push_image_tokenizer(tokenizer, "someone/pictures", "a card")
    assert pushed == {"someone/pictures": (tokenizer.config, "a card")}


def test_the_weights_lie_as_float16(folder: Path) -> None:
    weights = load_file(folder / "image_tokenizer.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_a_folder_that_does_not_say_how_it_normalizes_is_refused(tmp_path: Path) -> None:
    """Weights of one kind fit the other, and mean other codes there."""
    save_image_tokenizer(ImageTokenizer(make_config().image), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["image"]["normalization"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="does not say how its image tokenizer normalizes; set"):
        load_image_tokenizer(tmp_path)


@needs_world
@pytest.mark.parametrize(("name", "least"), [("pictures-4k", 23.5), ("pictures-65k", 24.5)])
def test_a_bundled_tokenizer_rebuilds_things_it_has_not_seen(name: str, least: float) -> None:
    tokenizer = load_image_tokenizer(name)
    things = [THINGS[index] for index in range(0, 64, 4)]
    pictures = [
        render_picture(t, np.random.default_rng(i), "test", 72) for i, t in enumerate(things)
    ]
    real = to_images(np.stack(pictures))
    assert float(psnr(tokenizer.decode(tokenizer.encode(real)), real).mean()) > least
