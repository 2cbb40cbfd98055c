"""Running sums are those of the product, told at the rows that ask for its digits, and leave no
trace in what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from short_runs import Dying, Killed, log_of, with_characters

from quintet import train
from quintet.config import ModelConfig, UserError, load_preset
from quintet.data.reasoning import FreshProducts, most_carried, product, running_sums
from quintet.model.omni import Omni
from quintet.stages import think
from quintet.stages.context import Context
from quintet.stages.internalize import Removal, maker_of
from quintet.stages.think import PROBE, SumProbe, ThinkTask, run
from quintet.tokenizers.folders import TEXT_FILE
from quintet.tokenizers.text import TextTokenizer
from quintet.tokenizers.weight_files import load_weights
from quintet.train import TrainConfig

PRESET = replace(
    load_preset("multiplication"), model=ModelConfig(32, 8, 2, 2, 2, 1, 32)
)  # fmt: skip
SETTINGS = TrainConfig(
    steps=12, batch_size=8, learning_rate=1e-2, warmup_steps=2, checkpoint_every=4,
    evaluate_every=20,
)  # fmt: skip


def _context(runs: Path, **settings: object) -> Context:
    return Context("think", PRESET, {"stage": "think", **settings}, runs)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_characters(tmp_path_factory.mktemp("runs"), PRESET)


class _Dying(Dying, ThinkTask):
    pass


def _task(runs: Path, layer: int = 1, config: TrainConfig = SETTINGS) -> _Dying:
    maker = maker_of(_context(runs))
    fresh = FreshProducts(maker, 2, "train", config.batch_size, config.seed)
    tested = FreshProducts(maker, 2, "test", 8, 0).batch(0)
    removal = Removal("none", longest=9, explicit_steps=0, steps_between=1, rows_at_once=1)
    return _Dying(
        PRESET, config, fresh.batch(0), tested, None, removal=removal, maker=maker, fresh=fresh,
        layer=layer,
    )  # fmt: skip


def test_running_sums() -> None:
    """12 x 34: 2 * 4; 2 * 3 + 1 * 4; 1 * 3 and the ten's one; nothing."""
    assert running_sums(12, 34, 2) == [8, 10, 4, 0]
    rng = np.random.default_rng(0)
    for _ in range(50):
        problem = product(rng, 4, "train")
        assert [total % 10 for total in problem.sums] == [int(digit) for digit in problem.answer]
        assert max(problem.sums) // 10 <= most_carried(4)
    assert most_carried(1) == 8 and most_carried(3) == 26


@pytest.mark.parametrize("packed_rows", [0, 40])
@pytest.mark.parametrize("layer", [1, 2])
def test_sums_are_told_where_the_digits_are_asked_for(
    runs: Path, layer: int, packed_rows: int
) -> None:
    task = _task(runs, layer, replace(SETTINGS, packed_rows=packed_rows))
    model, batch, made = task.module(), task.batch(5), []
    assert isinstance(model, Omni) and len(batch.rows.step) == (3 if packed_rows else 8)
    model.transformer.layers[layer - 1].register_forward_hook(
        lambda block, given, made_BTD: made.append(made_BTD)
    )
    told = []
    probe = getattr(model, PROBE)
    probe.loss = lambda hidden, sums: told.append((hidden, sums)) or hidden.sum()
    losses = task.losses(model, batch, 5)
    assert torch.equal(losses["loss"], losses["text_image"] + losses["audio"] + losses["sums"])
    ((hidden_ND, sums_N),) = told
    targets = batch.text_target.view(8, -1)[:, :4]  # entries of digits, one after another
    digits = torch.tensor(task.maker.text.encode("0123456789"))
    assert torch.equal(digits[sums_N.view(8, 4) % 10], targets)
    at = batch.text_at.view(8, -1)[:, :4]
    assert torch.equal(hidden_ND.view(8, 4, -1), made[0].flatten(0, 1)[at])
    assert torch.equal(sums_N.view(8, 4), torch.from_numpy(task.products.sums(5)))
    assert len(model.transformer.layers[layer - 1]._forward_hooks) == 1  # that of this test


def test_the_probe_tells_sums_apart() -> None:
    torch.manual_seed(0)
    probe, sums_N = SumProbe(32, 2), torch.arange(100)
    hidden_ND = torch.randn(100, 32)
    optimizer = torch.optim.Adam([*probe.parameters()], 0.05)
    first = probe.loss(hidden_ND, sums_N).item()
    for _ in range(100):
        optimizer.zero_grad()
        probe.loss(hidden_ND, sums_N).backward()
        optimizer.step()
    assert probe.loss(hidden_ND, sums_N).item() < first / 2
    with pytest.raises(IndexError):
        probe.loss(hidden_ND[:1], torch.tensor([10 * (most_carried(2) + 1)]))


def test_only_layers_below_learn_from_the_sums(runs: Path) -> None:
    task = _task(runs, layer=1)
    model, batch = task.module(), task.batch(0)
    task.losses(model, batch, 0)["sums"].backward()
    first, second = model.transformer.layers
    assert all(p.grad is None for p in second.parameters())
    assert any(p.grad is not None and p.grad.any() for p in first.parameters())


def test_what_is_kept_is_a_model_without_the_probe(runs: Path, tmp_path: Path) -> None:
    scores = train.run(_task(runs), SETTINGS, tmp_path, "think")
    assert set(scores) == {"eval/right", "eval/entries"}
    load_weights(Omni(PRESET), tmp_path / "model.safetensors")
    assert not any(name.startswith(PROBE) for name in load_file(tmp_path / "model.safetensors"))


def test_killed_and_resumed_equals_never_stopped(runs: Path, tmp_path: Path) -> None:
    train.run(_task(runs), SETTINGS, tmp_path / "whole", "whole")
    task = _task(runs)
    task.dies_at = 6
    with pytest.raises(Killed):
        train.run(task, SETTINGS, tmp_path / "killed", "killed")
    with pytest.raises(UserError, match="made with layer"):
        train.run(_task(runs, layer=2), SETTINGS, tmp_path / "killed", "other")
    train.run(_task(runs), SETTINGS, tmp_path / "killed", "again")
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")
    whole, again = (load_file(tmp_path / f / "model.safetensors") for f in ("whole", "killed"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_the_usual_layer_leaves_some_for_the_answer() -> None:
    assert [think.usual_layer(blocks) for blocks in (1, 2, 3, 4, 6, 12)] == [1, 1, 2, 3, 4, 9]


def test_what_cannot_be_is_told(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="layer = 3 and the preset 'multiplication' 2 layers"):
        think.check(_context(runs, layer=3, train={"steps": 1, "batch_size": 2}))
    table = {"steps": 1, "batch_size": 2, "tensor_parallel": 2}
    with pytest.raises(UserError, match="set tensor_parallel and context_parallel to 1"):
        think.check(_context(runs, train=table))
    (tmp_path / "text_tokenizer").mkdir()
    lines = [f"{1000 * n} and {500 + n} are # * numbers" for n in range(200)]
    TextTokenizer.train(lines, 300).save(tmp_path / "text_tokenizer" / TEXT_FILE)
    with pytest.raises(UserError, match="needs an entry for each digit"):
        run(_context(tmp_path, train={"steps": 1, "batch_size": 2}))
