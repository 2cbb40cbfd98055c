"""An audio tokenizer is of use by itself: saved, found, loaded and refused as a folder."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import make_config
from safetensors.torch import load_file, save_file

import quintet
from quintet.config import UserError
from quintet.tokenizers import codec_folder, folders
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.codec_folder import load_codec, push_codec, save_codec
from quintet.tokenizers.quantize import LEARNING


@pytest.fixture
def codec() -> AudioTokenizer:
    torch.manual_seed(0)
    return AudioTokenizer(make_config().audio)


@pytest.fixture
def folder(codec: AudioTokenizer, tmp_path: Path) -> Path:
    save_codec(codec, tmp_path / "codec", "# A codec")
    return tmp_path / "codec"


def test_saved_and_loaded_is_the_same(codec: AudioTokenizer, folder: Path) -> None:
    names = {"config.json", "audio_tokenizer.safetensors", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    assert all(path.stat().st_mode & stat.S_IROTH for path in folder.iterdir())
    assert json.loads((folder / "config.json").read_text())["kind"] == "audio_tokenizer"
    assert (folder / "README.md").read_text() == "# A codec"
    again = quintet.load_codec(folder)
    assert again.config == codec.config and not again.training
    assert "weight_norm" not in str([type(module) for module in again.modules()])
    expected = {k: v.half().float() for k, v in codec.fold().state_dict().items()}
    assert expected.keys() == again.state_dict().keys()
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, expected[name].to(value.dtype), msg=name)
    sound = torch.randn(1, 4_000) * 0.1
    codes, _ = again.encode(sound)
    assert codes.shape == (1, 2, 3) and again.decode(codes)[0].shape == (1, 4_000)


def test_saving_leaves_the_codec_in_training(codec: AudioTokenizer, tmp_path: Path) -> None:
    before = list(codec.state_dict())
    save_codec(codec, tmp_path)
    assert list(codec.state_dict()) == before and codec.training
    assert not (tmp_path / "README.md").exists()


def test_what_float16_cannot_hold_is_kept(codec: AudioTokenizer, tmp_path: Path) -> None:
    books = codec.quantizer.layers
    books[0].codebook.fill_(1e6)
    save_codec(codec, tmp_path)
    loaded = load_codec(tmp_path).quantizer.layers
    assert torch.equal(loaded[0].codebook, books[0].codebook)
    stored = load_file(tmp_path / "audio_tokenizer.safetensors")
    assert stored["quantizer.layers.0.codebook"].dtype == torch.float32
    assert stored["quantizer.layers.1.codebook"].dtype == torch.float16


def test_what_only_training_needs_is_not_shared(codec: AudioTokenizer, tmp_path: Path) -> None:
    codec.quantizer.layers[0].cluster_size.fill_(7)
    save_codec(codec, tmp_path)
    names = [
        name.rpartition(".")[2] for name in load_file(tmp_path / "audio_tokenizer.safetensors")
    ]
    assert "codebook" in names and not set(LEARNING) & set(names)
    loaded = load_codec(tmp_path).quantizer.layers[0]  # counts as just filled
    assert (loaded.cluster_size == 1).all() and (loaded.age == 0).all()
    assert torch.equal(loaded.vector_sum, loaded.codebook)


def test_the_first_codebooks_are_a_codec_too(folder: Path, tmp_path: Path) -> None:
    whole, first = load_codec(folder), load_codec(folder, num_codebooks=2)
    sound = torch.randn(1, 8_000, generator=torch.manual_seed(0)) * 0.1
    codes, _ = first.encode(sound)
    assert torch.equal(codes, whole.encode(sound)[0][..., :2])
    layers = whole.quantizer.layers
    latents = sum(layers[q].codebook[codes[..., q]] for q in range(2))
    expected, _ = whole.decoder(latents.transpose(1, 2))
    torch.testing.assert_close(first.decode(codes)[0], expected[:, 0].clamp(-1, 1))
    save_codec(first, tmp_path / "first")
    assert load_codec(tmp_path / "first").config.num_codebooks == 2
    for wrong in (0, 4, -1):
        with pytest.raises(UserError, match="has 3 codebooks"):
            load_codec(folder, wrong)


def test_a_models_folder_gives_its_codec(model_folder: Path, tmp_path: Path) -> None:
    mine, whole = load_codec(model_folder), quintet.load(model_folder).tokenizers.audio
    for left, right in zip(mine.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(left, right)
    (tmp_path / "config.json").write_text((model_folder / "config.json").read_text())
    part = "audio_tokenizer.safetensors"  # nothing else of the model is read
    (tmp_path / part).write_bytes((model_folder / part).read_bytes())
    assert load_codec(tmp_path).config == mine.config


def test_the_bundled_codec_loads_without_the_model(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "quintet.live", None)
    monkeypatch.setitem(sys.modules, "quintet.model.omni", None)
    assert quintet.load_codec().config.num_codebooks == 4


def _refusal(name: str | Path) -> str:
    with pytest.raises(UserError) as told:
        load_codec(name)
    message = str(told.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_damaged_folders_are_told_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    assert "no model 'nonsense'" in _refusal("nonsense")
    assert "name of the model is empty" in _refusal("")
    assert "config.json" in _refusal(tmp_path)
    weights, path = folder / "audio_tokenizer.safetensors", folder / "config.json"
    good = json.loads(path.read_text())
    for audio, told in [
        (5, "put a table there"), ({"colour": 3}, "colour"), ({"strides": 5}, "list of whole"),
        ({"channels": "many"}, "a whole number"), ({"codebook_size": -1}, "codebook_size"),
        ({**good["audio"], "latent_dim": 5}, "another shape"),
    ]:  # fmt: skip
        path.write_text(json.dumps({**good, "audio": audio}))
        assert told in _refusal(folder)
    for content, told in [("{", "not JSON"), ("[]", "no audio tokenizer"), ("{}", "no audio tok")]:
        path.write_text(content)
        assert told in _refusal(folder)
    path.write_text(json.dumps(good))
    weights.write_bytes(b"12345")
    assert "damaged" in _refusal(folder)
    weights.unlink()
    assert "no file" in _refusal(folder)


def test_an_encodec_folder_is_converted(codec: AudioTokenizer, tmp_path: Path, monkeypatch) -> None:
    """The conversion has its own tests; here, that the folder's two files reach it."""
    given: list[object] = []

    def convert(config: dict[str, object], weights: dict[str, torch.Tensor]) -> AudioTokenizer:
        given.extend([config, weights])
        return codec

    stub = ModuleType("quintet.tokenizers.encodec")
    stub.convert_encodec = convert  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "quintet.tokenizers.encodec", stub)
    values = {"model_type": "encodec", "sampling_rate": 24_000}
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert "no file" in _refusal(tmp_path)
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    loaded = load_codec(tmp_path)
    assert given[0] == values and torch.equal(given[1]["a"], torch.ones(2))  # type: ignore[index]
    assert not loaded.training and loaded.config == codec.config

    def fail(config: object, weights: object) -> None:
        raise KeyError("encoder.layers.0.conv.weight_g")

    stub.convert_encodec = fail  # type: ignore[attr-defined]
    assert "encoder.layers.0" in _refusal(tmp_path)


def test_from_the_hub_only_the_codec_is_fetched(folder: Path, tmp_path: Path, monkeypatch) -> None:
    asked: list[list[str]] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr(folders, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    assert load_codec("someone/codec").config.num_codebooks == 3
    assert asked == [["config.json", "audio_tokenizer.safetensors", "README.md"]]


def test_a_codec_is_pushed_as_its_folder(codec: AudioTokenizer, monkeypatch) -> None:
    pushed: dict[str, object] = {}

    def upload(folder: Path, repository: str) -> None:
        pushed[repository] = (load_codec(folder).config, (folder / "README.md").read_text())

    monkeypatch.setattr(codec_folder, "upload", upload)
    push_codec(codec, "someone/codec", "a card")
    assert pushed == {"someone/codec": (codec.config, "a card")}


def test_a_config_that_asks_for_terabytes_costs_nothing(tmp_path: Path) -> None:
    save_codec(AudioTokenizer(make_config().audio), tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        text.replace('"codebook_size": 16', '"codebook_size": 1000000000000')
    )
    with pytest.raises(UserError, match="another shape"):
        load_codec(tmp_path)


def test_a_codec_is_not_taken_for_a_model(tmp_path: Path) -> None:
    save_codec(AudioTokenizer(make_config().audio), tmp_path)
    with pytest.raises(UserError, match=r"is an audio tokenizer, not a whole .*sounds alone"):
        quintet.load(tmp_path)
