"""Models as folders, and the two ways of asking them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_tokenizers
from PIL import Image
from safetensors.torch import load_file, save_file

import quintet
from quintet.config import UserError
from quintet.live import pretrained
from quintet.live.inputs import as_picture
from quintet.live.pretrained import Quintet, assemble
from quintet.tokenizers import folders
from quintet.tokenizers.bundle import Tokenizers
from quintet.tokenizers.text import TextTokenizer


@pytest.fixture(scope="module")
def system() -> Quintet:
    config = make_config()
    return Quintet(make_model(config), make_tokenizers(config), "a card")


@pytest.fixture
def folder(system: Quintet, tmp_path: Path) -> Path:
    system.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_saved_and_loaded_is_the_same(system: Quintet, folder: Path) -> None:
    again = quintet.load(folder)
    assert again.config == system.config and again.card == "a card"
    for (name, mine), theirs in zip(
        system.model.state_dict().items(), again.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(theirs, mine.half().float(), msg=name)


@pytest.mark.parametrize("size", ["5 gigs", "", "-1GB", "0.0GB", "5GiB", "nanGB", 5])
def test_a_shard_size_of_no_sense_touches_no_folder(
    system: Quintet, tmp_path: Path, size: str
) -> None:
    with pytest.raises(UserError, match="such as '5GB'"):
        system.save_pretrained(tmp_path / "new", size)
    assert not list(tmp_path.iterdir())


def test_damaged_folders_are_told_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model"):
        quintet.load("nonsense")
    with pytest.raises(UserError, match=r"config\.json"):
        quintet.load(tmp_path)
    for nothing in ("", " "):
        with pytest.raises(UserError, match="name of the model is empty"):
            quintet.load(nothing)
    weights = load_file(folder / "model.safetensors")
    weights["text_image_head.weight"] = weights["text_image_head.weight"][:5].clone()
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match="another shape"):
        quintet.load(folder)
    (folder / "model.safetensors").write_bytes(b"12345")
    with pytest.raises(UserError, match="damaged"):
        quintet.load(folder)
    (folder / "config.json").write_text(json.dumps({"colour": 3}))
    with pytest.raises(UserError, match="colour"):
        quintet.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="JSON"):
        quintet.load(folder)


@pytest.mark.parametrize(
    ("load", "offered"),
    [
        (quintet.load, "nano"),
        (Tokenizers.of_model, "nano"),
        (quintet.load_codec, "nano, speech-480"),
        (quintet.load_image_tokenizer, "nano, pictures-4k, pictures-65k"),
    ],
)
def test_who_mistypes_a_name_is_offered_only_what_would_do(
    load: Callable[[str], object], offered: str
) -> None:
    with pytest.raises(UserError, match=f"bundled: {offered}\\.$"):
        load("nanoo")


MISFITTING: dict[str, object] = {
    "": [],
    "model.d_model": "48",
    "model.num_heads": 0,
    "text": 5,
    "text.vocab_size": "many",
    "image.strides": [2],
    "image.channels": 3,
    "audio.strides": 5,
    "audio.codebook_size": -1,
    "live.window_steps": 0,
    "live.max_rows": 500,
}


@pytest.mark.parametrize("key", MISFITTING)
def test_a_configuration_that_describes_no_model_is_told(folder: Path, key: str) -> None:
    values = json.loads((folder / "config.json").read_text())
    *outer, inner = key.split(".")
    place = values
    for name in outer:
        place = place[name]
    place[inner] = MISFITTING[key]
    text = json.dumps(values if key else MISFITTING[key])
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError) as told:
        quintet.load(folder)
    assert str(told.value).endswith(".") and "\n" not in str(told.value)


def test_a_card_in_another_encoding_is_no_obstacle(folder: Path) -> None:
    (folder / "README.md").write_bytes(b"Gr\xfc\xdfe")
    assert quintet.load(folder).card == "Gr\ufffd\ufffde"


def test_a_text_tokenizer_with_too_many_entries_is_told(folder: Path) -> None:
    lines = [f"thing{n} word{n * 7} other{n * n}" for n in range(300)]
    larger = TextTokenizer.train(lines, 500)
    assert larger.vocab_size > 300
    larger.save(folder / "text_tokenizer.model")
    with pytest.raises(UserError, match=r"text_tokenizer\.model has \d+ entries"):
        quintet.load(folder)


def test_a_mistyped_path_is_not_asked_of_the_hub(tmp_path: Path, monkeypatch) -> None:
    asked: list[str] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        assert "config.json" in allow_patterns and "text_tokenizer.model" in allow_patterns
        raise ConnectionError("")  # an error that says nothing

    monkeypatch.setattr(folders, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="no model 'runs/typo'"):
        quintet.load("runs/typo")
    assert not asked
    with pytest.raises(UserError, match="ConnectionError"):
        quintet.load("someone/model")
    assert asked == ["someone/model"]


def test_talk_gives_sound_on_the_clock_and_repeats(system: Quintet, tmp_path: Path) -> None:
    sound = np.random.default_rng(0).standard_normal(20_000).astype(np.float32) * 0.1
    picture = np.full((20, 30, 3), 90, np.uint8)
    reply, again = (system.talk(sound, picture, "hello.", seed=1) for _ in range(2))
    assert len(reply.audio) == 6_000 * (len(reply.timeline) + 1)
    assert [out.step for out in reply.timeline] == list(range(1, len(reply.timeline) + 1))
    assert reply.text == again.text and np.array_equal(reply.audio, again.audio)
    reply.save(tmp_path / "reply")
    names = {path.name for path in (tmp_path / "reply").iterdir()}
    assert {"reply.wav", "reply.txt", "timeline.png", "stats.json"} <= names
    stats = json.loads((tmp_path / "reply" / "stats.json").read_text())
    assert stats["steps"] == len(reply.timeline) and stats["step_milliseconds_p99"] > 0


def test_chat_takes_words_pictures_and_sound(system: Quintet) -> None:
    picture = np.zeros((10, 10, 3), np.uint8)
    sound = np.zeros(9_000, np.float32)
    message = {"role": "user", "content": ["what is this?", picture, sound]}
    first, second = system.chat([message], seed=3), system.chat([message], seed=3)
    assert first.text == second.text and np.array_equal(first.audio, second.audio)
    words = len(system.tokenizers.text.encode("what is this?")) + 2  # their end, and <image>
    patches = system.config.image.num_tokens
    read = {"text_in": words, "image_in": patches, "audio_in": 6}  # two steps of three frames
    assert read.items() <= first.counts.items()
    assert {"text_out", "image_out", "audio_out"} <= first.counts.keys()
    for bad in ([], [{"role": "king", "content": "x"}], [{"role": "user", "content": [3]}]):
        with pytest.raises(UserError):
            system.chat(bad)
    for long in ("word " * 50_000, np.zeros(24_000 * 300, np.float32)):
        with pytest.raises(UserError, match="too long"):
            system.chat([{"role": "user", "content": [long]}])


def test_what_is_no_sound_and_no_picture_is_told(system: Quintet) -> None:
    good = np.zeros(9_000, np.float32)
    sounds = (np.zeros((9_000, 2), np.float32), np.zeros(9_000, np.int16), good * np.nan)
    pictures = (np.zeros((9, 9, 3)), np.zeros((9, 9, 4), np.uint8), np.zeros((0, 0, 3), np.uint8))
    for part in (*sounds, *pictures, np.zeros(0, np.float32), "", None):
        with pytest.raises(UserError):
            system.chat([{"role": "user", "content": [part]}])
    for sound in (*sounds, [0.0, 0.1]):
        with pytest.raises(UserError):
            system.talk(sound)  # type: ignore[arg-type]
    for picture in (*pictures, 3):
        with pytest.raises(UserError):
            system.talk(image=picture)  # type: ignore[arg-type]
    clear = Image.new("RGBA", (3, 2))
    assert np.array_equal(as_picture(clear), np.full((2, 3, 3), 255, np.uint8))


def test_nothing_to_answer_is_told(system: Quintet) -> None:
    with pytest.raises(UserError, match="nothing"):
        system.talk()
    with pytest.raises(UserError, match="characters"):
        system.talk(text="x" * 1_000_000)


def test_what_goes_to_the_hub_is_the_whole_folder(system: Quintet, monkeypatch) -> None:
    sent: dict[str, set[str]] = {}

    def upload(folder: Path, repository: str) -> None:
        sent[repository] = {path.name for path in folder.iterdir()}

    monkeypatch.setattr(pretrained, "upload", upload)
    system.push_to_hub("someone/model")
    assert sent["someone/model"] >= {
        folders.CONFIG_FILE, folders.WEIGHTS_FILE, folders.CARD_FILE, folders.TEXT_FILE,
        folders.AUDIO_FILE, folders.IMAGE_FILE,
    }  # fmt: skip


def test_the_transformer_alone_moves_to_a_device() -> None:
    config = make_config()
    system = Quintet(make_model(config), make_tokenizers(config))
    assert system.to("meta") is system and system.model.device.type == "meta"
    assert next(system.tokenizers.audio.parameters()).device.type == "cpu"
    with pytest.raises(UserError, match="sampling is a Sampling, not 'linda'"):
        Quintet(make_model(config), system.tokenizers).session("linda")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="cuda_graphs is for"):
        system.to("cpu", cuda_graphs=True)
    assert not system.model.cuda_graphs and system.model.device.type == "meta"


def test_what_stages_have_exported_is_assembled(system: Quintet, folder: Path) -> None:
    files = (folders.TEXT_FILE, folders.AUDIO_FILE, folders.IMAGE_FILE)
    other = make_model(system.config, seed=5)
    save_file(other.state_dict(), folder / "other.safetensors")
    made = assemble(folder / "other.safetensors", [folder / name for name in files], system.config)
    for name, weight in other.state_dict().items():
        torch.testing.assert_close(made.model.state_dict()[name], weight)


def test_a_tokenizer_alone_is_no_model() -> None:
    with pytest.raises(UserError, match="speech-480 is an audio tokenizer, not a whole model"):
        quintet.load("speech-480")
