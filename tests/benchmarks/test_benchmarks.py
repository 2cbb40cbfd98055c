"""Every benchmark runs and gives its figures; how large they are is asserted nowhere."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import Row, codec, live, train
from quintet.config import load_preset

PEERS = {"encode", "decode"}  # what both do


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a benchmark's threads nor its random state reach another test."""
    for module in (codec, live, train):
        monkeypatch.setattr(module, "THREADS", torch.get_num_threads())


def _check(rows: list[Row], positive: bool = True) -> None:
    assert len({row["name"] for row in rows}) == len(rows) > 0
    for row in rows:
        assert math.isfinite(row["value"]) and (row["value"] > 0 or not positive), row
        if row["peer"] is not None:
            assert row["ratio"] == row["value"] / row["peer"], row


def test_codec(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SECONDS", 1)
    monkeypatch.setattr(codec, "ROUNDS", 1)
    monkeypatch.setattr(codec, "EncodecConfig", partial(codec.EncodecConfig, num_filters=4))
    rows = codec.run(str(model_folder))
    _check(rows)
    assert {row["name"] for row in rows if row["unit"] == "s of sound / s" and row["peer"]} == PEERS


@torch.no_grad()
def test_a_folded_peer_gives_the_same_sound() -> None:
    torch.manual_seed(0)
    peer = codec.EncodecModel(codec.EncodecConfig(num_filters=4, hidden_size=16)).eval()
    sound_BCS = 0.1 * torch.randn(1, 1, 2_400)
    before = peer.decoder(peer.encoder(sound_BCS))
    folded = codec._fold(peer)
    assert not any("parametrizations" in name for name, _ in folded.named_parameters())
    torch.testing.assert_close(folded.decoder(folded.encoder(sound_BCS)), before)


def test_train(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("BATCH", 2), ("STEPS", 12), ("ROUNDS", 1)):
        monkeypatch.setattr(train, name, small)
    _check(train.run("tiny"))


def test_the_peer_of_training_is_asked_where_ours_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "BATCH", 2)
    config = load_preset("tiny")
    batch, llama = train._batch(config), train._llama(config)
    asked: list[int] = []
    llama.lm_head.register_forward_hook(lambda _, __, logits: asked.append(len(logits)))
    train._llama_loss(llama, batch).backward()
    assert asked == [len(batch.text_at)] and asked[0] < batch.rows.step.numel()


def test_live(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STEPS", 8)
    monkeypatch.setattr(live, "WARM_UP", 2)
    _check(live.run(str(model_folder)), positive=False)
