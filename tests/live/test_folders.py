"""Models as folders, and the two ways of asking them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_tokenizers
from safetensors.torch import load_file, save_file

import quintet
from quintet.config import UserError
from quintet.live.pretrained import Quintet


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


def test_damaged_folders_are_told_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model"):
        quintet.load("nonsense")
    with pytest.raises(UserError, match=r"config\.json"):
        quintet.load(tmp_path)
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
    for bad in ([], [{"role": "king", "content": "x"}], [{"role": "user", "content": [3]}]):
        with pytest.raises(UserError):
            system.chat(bad)
    for long in ("word " * 50_000, np.zeros(24_000 * 300, np.float32)):
        with pytest.raises(UserError, match="too long"):
            system.chat([{"role": "user", "content": [long]}])


def test_nothing_to_answer_is_told(system: Quintet) -> None:
    with pytest.raises(UserError, match="nothing"):
        system.talk()
    with pytest.raises(UserError, match="characters"):
        system.talk(text="x" * 1_000_000)
