"""Every benchmark runs and gives its figures; how large they are is asserted nowhere."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import needs_world

from benchmarks import Row, as_command, codec, decode, live, sessions, train, utilization, world
from quintet.config import UserError, load_preset


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a benchmark's threads nor its random state reach another test."""
    for module in (decode, live, sessions, train, world):
        monkeypatch.setattr(module, "THREADS", torch.get_num_threads())
    monkeypatch.setattr(codec, "THREADS", (torch.get_num_threads(),))


def _check(rows: list[Row], positive: bool = True) -> None:
    assert len({row["name"] for row in rows}) == len(rows) > 0
    for row in rows:
        assert math.isfinite(row["value"]) and (row["value"] > 0 or not positive), row
        if row["peer"] is not None:
            assert row["ratio"] == row["value"] / row["peer"], row


def _small_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers of a few channels, and the tiny preset in the place of the reference."""
    mimi = {
        "num_filters": 4, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
        "codebook_size": 32, "codebook_dim": 16, "vector_quantization_hidden_dimension": 16,
        "upsample_groups": 32,
    }  # fmt: skip
    dac = {"encoder_hidden_size": 4, "decoder_hidden_size": 32}
    for name, sizes in (("Encodec", {"num_filters": 4}), ("Mimi", mimi), ("Dac", dac)):
        config = getattr(codec, f"{name}Config")
        monkeypatch.setattr(codec, f"{name}Config", partial(config, **sizes))
    monkeypatch.setattr(codec, "load_preset", lambda _: load_preset("tiny"))


def test_codec(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SECONDS", 1)
    monkeypatch.setattr(codec, "TURNS", 2)
    _small_codecs(monkeypatch)
    rows = codec.run(str(model_folder))
    _check(rows)
    beside = [row["name"] for row in rows if row["unit"] == "s of sound / s" and row["peer"]]
    assert len(beside) == 2 * 2 * 3  # two of ours, there and back, three peers
    assert all(" vs " in name for name in beside)
    steps = [row for row in rows if row["unit"] == "ms"]
    assert {row["peer"] for row in steps} == {codec.LATENCY_LIMIT} and len(steps) == 4


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
    batch, llama = train._batch(config), train.peer(config)
    asked: list[int] = []
    llama.lm_head.register_forward_hook(lambda _, __, logits: asked.append(len(logits)))
    train._llama_loss(llama, batch).backward()
    assert asked == [len(batch.text_at)] and asked[0] < batch.rows.step.numel()


def test_live(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STEPS", 8)
    monkeypatch.setattr(live, "WARM_UP", 2)
    _check(live.run(str(model_folder)), positive=False)


def test_decode(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("PROMPT", 4), ("TOKENS", 3), ("ROUNDS", 1), ("BATCHES", (1, 2))):
        monkeypatch.setattr(decode, name, small)
    monkeypatch.setattr(decode, "MINUTES", (0.05, 0.1))
    monkeypatch.setattr(decode, "LAST", 6)
    rows = decode.run(str(model_folder))
    _check(rows)
    assert [row["unit"] for row in rows] == ["tokens / s"] * 4 + ["ms", "MiB"] * 2
    assert rows[4]["ratio"] == 1  # the first is what the others are beside


def test_sessions(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("COUNTS", (1, 3)), ("STEPS", 4), ("WARM_UP", 1), ("DISTINCT", 2)):
        monkeypatch.setattr(sessions, name, small)
    rows = sessions.run(str(model_folder))
    _check(rows, positive=False)
    assert rows[-2]["name"] == "sessions held" and rows[-2]["value"] in (0, 1, 3)


def test_utilization(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "STEPS", 12)
    rows = utilization.measure(load_preset("tiny"), 2, 256)
    _check(rows)
    assert [row["unit"] for row in rows] == ["rows / s"]  # a CPU's peak is in no table


@needs_world
def test_world(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "NUM_SCENES", 2)
    rows = world.run(str(model_folder))
    assert {row["unit"] for row in rows} == {"times real time", "scenes / s", "%"}
    assert sum(row["value"] for row in rows if row["unit"] == "%") == pytest.approx(100)
    assert all(row["value"] > 0 for row in rows[:5])


def test_a_mistake_is_one_sentence_here_too(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("There is no recipe 'mul'.")

    with pytest.raises(SystemExit) as ended:
        as_command(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "There is no recipe 'mul'.\n"
