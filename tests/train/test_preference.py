"""Preferences: the loss's laws, and a short training against a reference that stays as it is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import many
import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_samples
from safetensors.torch import load_file, save_file
from short_runs import SETTINGS, Dying, Killed, log_of

from quintet import train
from quintet.config import UserError, load_preset
from quintet.data.preferences import Pair, PairLoader, pairs_of
from quintet.model.log_probs import divergence, log_probs, num_answers
from quintet.model.omni import Batch, Omni
from quintet.settings import check_type
from quintet.stages import prefer
from quintet.stages.context import MODEL_FILE, Context
from quintet.stages.prefer_task import PreferTask
from quintet.timeline.targets import NOT_ASKED, Sample
from quintet.train import TrainConfig
from quintet.train.preference import PreferenceConfig, preference_losses
from quintet.train.processes import Place

LN_2 = math.log(2)
POLICY = torch.tensor([[-10.0, -20.0], [-12.0, -16.0]])
REFERENCE = torch.tensor([[-11.0, -20.0], [-12.0, -19.0]])
COUNTS = torch.tensor([[4, 5], [2, 8]])
GENTLE = replace(SETTINGS, learning_rate=1e-3, batch_size=4)


def _losses(policy: torch.Tensor = POLICY, **settings: float) -> dict[str, torch.Tensor]:
    return preference_losses(PreferenceConfig(**settings), policy, REFERENCE, COUNTS)


def test_the_loss_is_that_of_the_formula() -> None:
    margin = np.array([1.0, 0.0 - 3.0])
    softplus = np.log1p(np.exp(-0.5 * margin))
    losses = _losses(beta=0.5)
    assert losses["margin"].tolist() == margin.tolist()
    assert losses["chosen_gain"].tolist() == [1.0, 0.0]
    assert losses["loss"].numpy() == pytest.approx(softplus)
    smoothed = 0.9 * softplus + 0.1 * np.log1p(np.exp(0.5 * margin))
    assert _losses(beta=0.5, label_smoothing=0.1)["loss"].numpy() == pytest.approx(smoothed)
    assert _losses(beta=0.5, ipo=True)["loss"].numpy() == pytest.approx((margin - 1.0) ** 2)
    each = np.array([1 / 4 - 0 / 2, 0 / 5 - 3 / 8])
    means = _losses(beta=2.0, length_normalized=True)["loss"].numpy()
    assert means == pytest.approx(np.log1p(np.exp(-2 * each)))
    with_sft = softplus + 0.1 * np.array([10 / 4, 20 / 5])
    assert _losses(beta=0.5, sft_weight=0.1)["loss"].numpy() == pytest.approx(with_sft)


def test_swapping_the_pair_turns_the_sign() -> None:
    swapped = preference_losses(
        PreferenceConfig(), POLICY.flip(0), REFERENCE.flip(0), COUNTS.flip(0)
    )
    assert torch.equal(swapped["margin"], -_losses()["margin"])


def test_no_gradient_reaches_the_reference() -> None:
    policy, reference = POLICY.clone().requires_grad_(), REFERENCE.clone().requires_grad_()
    losses = preference_losses(PreferenceConfig(), policy, reference, COUNTS)
    losses["loss"].sum().backward()
    assert reference.grad is None
    assert policy.grad is not None and bool((policy.grad[0] < 0).all() & (policy.grad[1] > 0).all())


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("beta", 0.0, "above 0"), ("beta", math.nan, "above 0"),
     ("label_smoothing", 0.5, "from 0 to below 0.5"), ("label_smoothing", -0.1, "from 0 to"),
     ("sft_weight", -1.0, "of at least 0"), ("keep_weight", math.inf, "of at least 0")],
)  # fmt: skip
def test_senseless_settings_are_told(name: str, value: float, told: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' to {value}; make it a number {told}"):
        check_type(name, value, prefer.SETTINGS[name], "mine.toml")


def _quiet(sample: Sample) -> Sample:
    """The same rows, where every answer should have been silence."""
    config = make_config()
    text, audio = config.text_image_vocab_size, config.audio.codebook_size
    return replace(
        sample,
        text_target=np.where(sample.text_target == NOT_ASKED, NOT_ASKED, text).astype(np.int32),
        audio_target=np.where(sample.audio_target == NOT_ASKED, NOT_ASKED, audio).astype(np.int32),
    )


def _pairs(count: int) -> list[Pair]:
    return [Pair(sample, _quiet(sample)) for sample in make_samples(count)]


class _Prefer(Dying, PreferTask):
    pass


def _task(folder: Path, config: TrainConfig = GENTLE, **settings: float) -> _Prefer:
    start = folder / "start.safetensors"
    if not start.exists():
        save_file(make_model(make_config()).state_dict(), start)
    return _Prefer(
        make_config(), config, _pairs(16)[:11], _pairs(16)[11:], make_samples(6), start,
        PreferenceConfig(**settings), kept=make_samples(10)[6:],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "scenes", "told"),
    [(6, 8, "and 0 samples to train on"), (11, 8, "and 3 samples to train on"),
     (20, 3, "and 3 samples kept out")],
)  # fmt: skip
def test_too_few_pairs_or_scenes_are_told(
    pairs: int, scenes: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"preferences": make_samples(2 * pairs), "realtime_test": make_samples(scenes)}
    monkeypatch.setattr(prefer, "samples_of", lambda context, kind: made[kind])
    settings = {"held_out": 8, "train": {"steps": 1, "batch_size": 4}}
    with pytest.raises(UserError, match=told):
        prefer.run(Context("prefer", load_preset("tiny"), settings, tmp_path))


def test_the_last_pairs_are_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"preferences": make_samples(40), "realtime_test": make_samples(5)}
    monkeypatch.setattr(prefer, "samples_of", lambda context, kind: made[kind])
    monkeypatch.setattr(train, "run", lambda task, *_: task)
    (tmp_path / "realtime").mkdir()
    (tmp_path / "realtime" / MODEL_FILE).write_bytes(b"")
    settings = {"held_out": 8, "train": {"steps": 1, "batch_size": 4}}
    task: Any = prefer.run(Context("prefer", load_preset("tiny"), settings, tmp_path))
    for loader, samples in ((task.pairs, made["preferences"][:24]),
                            (task.held_out_pairs, made["preferences"][24:])):  # fmt: skip
        expected = [len(a) + len(b) for a, b in zip(samples[::2], samples[1::2], strict=True)]
        assert [len(both) for both in loader.samples] == expected


@torch.no_grad()
def test_scores_are_of_held_out_pairs_and_a_question(tmp_path: Path) -> None:
    task = _task(tmp_path)
    module = task.module()
    task.spread(module, Place())
    assert isinstance(module, Omni)
    assert task.evaluate(module, 0)["drift"] == 0
    for parameter in module.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    scores, reference = task.evaluate(module, 0), make_model(make_config())
    scenes = Batch.from_samples(task.held_out.batch(0))
    apart = float(divergence(reference, module, scenes).sum() / num_answers(scenes).sum())
    assert scores["drift"] == pytest.approx(apart, rel=1e-4) and apart > 0
    pairs = task.held_out_pairs.pairs(0)
    chosen, rejected = (
        log_probs(module, Batch.from_samples(samples))
        for samples in ([p.chosen for p in pairs], [p.rejected for p in pairs])
    )
    assert scores["pairs_chosen_likelier"] == float((chosen > rejected).float().mean())
    assert 0 < scores["pairs_chosen_likelier"] < 1


@pytest.mark.parametrize("packed_rows", [0, 200])
def test_it_begins_at_ln_2_and_the_margin_grows(tmp_path: Path, packed_rows: int) -> None:
    before = _task(tmp_path, replace(GENTLE, packed_rows=packed_rows))
    scores = train.run(before, before.config, tmp_path / "run", "prefer")
    log = [line for line in log_of(tmp_path / "run") if "loss" in line]
    assert abs(log[0]["loss"] - LN_2) < 1e-6
    assert log[0]["margin"] == log[0]["accuracy"] == log[0]["chosen_gain"] == 0.0
    assert log[-1]["margin"] > 1.0 and log[-1]["loss"] < LN_2 and log[-1]["accuracy"] == 1.0
    assert scores["eval/drift"] > 0.0 and scores["eval/pairs_accuracy"] == 1.0
    start, end = (load_file(tmp_path / name) for name in
                  ("start.safetensors", "run/model.safetensors"))  # fmt: skip
    reference = before.reference
    assert reference is not None and start.keys() == end.keys()
    for name, weights in reference.state_dict().items():
        assert torch.equal(weights, start[name]), name
    assert all(parameter.grad is None for parameter in reference.parameters())
    assert any(not torch.equal(start[name], end[name]) for name in start)


def test_what_no_pair_is_about_stays_when_it_is_kept(tmp_path: Path) -> None:
    freely, kept = _task(tmp_path), _task(tmp_path, keep_weight=20.0)
    away = train.run(freely, GENTLE, tmp_path / "freely", "freely")
    near = train.run(kept, GENTLE, tmp_path / "kept", "kept")
    assert near["eval/drift"] < 0.5 * away["eval/drift"]
    assert near["eval/pairs_accuracy"] > 0.5
    log = [line for line in log_of(tmp_path / "kept") if "loss" in line]
    assert log[0]["drift"] == 0.0 and abs(log[0]["loss"] - LN_2) < 1e-6 and log[-1]["drift"] > 0


def test_keeping_needs_something_to_keep(tmp_path: Path) -> None:
    for shards in ({}, {"preferences": 2}):
        settings = {"keep_weight": 1.0, "shards": shards}
        with pytest.raises(UserError, match="nothing to keep; name other kinds"):
            prefer.check(Context("prefer", load_preset("tiny"), settings, tmp_path))


def test_too_little_to_keep_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"preferences": make_samples(40), "realtime_test": make_samples(5)}
    monkeypatch.setattr(prefer, "samples_of", lambda context, kind: made[kind])
    monkeypatch.setattr(prefer, "mixed_in", lambda context, kind: make_samples(3))
    settings = {"held_out": 8, "train": {"steps": 1, "batch_size": 4}, "keep_weight": 1.0,
                "shards": {"realtime": 1}}  # fmt: skip
    with pytest.raises(UserError, match="and 3 samples to train on"):
        prefer.run(Context("prefer", load_preset("tiny"), settings, tmp_path))


@pytest.mark.parametrize("keep_weight", [0.0, 1.0])
def test_a_killed_run_goes_on_exactly(tmp_path: Path, keep_weight: float) -> None:
    whole, killed = (_task(tmp_path, keep_weight=keep_weight) for _ in range(2))
    train.run(whole, GENTLE, tmp_path / "whole", "whole")
    killed.dies_at = 7
    with pytest.raises(Killed):
        train.run(killed, GENTLE, tmp_path / "killed", "killed")
    again = _task(tmp_path, keep_weight=keep_weight)
    train.run(again, GENTLE, tmp_path / "killed", "again")
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")
    with pytest.raises(UserError, match="beta"):
        train.run(_task(tmp_path, beta=0.3), GENTLE, tmp_path / "killed", "other")
    fewer = _task(tmp_path, keep_weight=keep_weight)
    fewer.pairs.samples.pop()
    with pytest.raises(UserError, match="made with pairs = "):
        train.run(fewer, GENTLE, tmp_path / "killed", "fewer")


SHORT = replace(GENTLE, steps=4, evaluate_every=2)


def _run(folder: Path, packed_rows: int, name: str) -> None:
    config = replace(SHORT, packed_rows=packed_rows)
    train.run(_task(folder, config, keep_weight=5.0), config, folder / name, name)


def _two(folder: Path) -> None:
    _run(folder, 0, "two")


def _two_packed(folder: Path) -> None:
    _run(folder, 200, "two packed")


def test_one_device_equals_many_also_in_what_is_kept(tmp_path: Path) -> None:
    _run(tmp_path, 0, "alone")
    many.start([(2, _two), (2, _two_packed)], tmp_path)
    alone = log_of(tmp_path / "alone")
    assert max(line.get("drift", 0) for line in alone) > 1e-3
    for name in ("two", "two packed"):
        for one, both in zip(alone, log_of(tmp_path / name), strict=True):
            assert both == pytest.approx(one, rel=1e-3, abs=1e-4)


def test_only_what_tells_absolute_time_is_moved_in_it(tmp_path: Path) -> None:
    """Turned keys tell how far back a prompt lies, so there it must stay where it is."""
    for d_time in (0, 8):
        preset = make_config()
        preset = replace(preset, model=replace(preset.model, d_position=d_time, d_time=d_time))
        task = PreferTask(
            preset, GENTLE, _pairs(8), _pairs(8), make_samples(6), tmp_path / "unread",
            PreferenceConfig(keep_weight=1.0), kept=make_samples(8),
        )  # fmt: skip
        assert task.kept is not None
        pairs = [*task.pairs.pairs(0), *task.held_out_pairs.pairs(0)]
        samples = task.kept.batch(0) + task.held_out.batch(0)
        samples += [sample for pair in pairs for sample in (pair.chosen, pair.rejected)]
        moved = {bool(sample.rows.step.max() > 10) for sample in samples}
        assert moved == {d_time > 0}


def test_both_of_a_pair_are_moved_alike() -> None:
    pairs = [Pair(s, _quiet(s)) for s in make_samples(9)]
    loader = PairLoader(pairs, 4, seed=0, picture_rows=4)
    for pair in (pair for step in range(5) for pair in loader.pairs(step)):
        assert np.array_equal(pair.chosen.rows.step, pair.rejected.rows.step)
        assert np.array_equal(pair.chosen.rows.position, pair.rejected.rows.position)
        assert not np.array_equal(pair.chosen.text_target, pair.rejected.text_target)
    assert pairs_of([s for p in pairs for s in (p.chosen, p.rejected)]) == pairs
