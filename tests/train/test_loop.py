"""Resume equals never having stopped, to the last digit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_config, make_timeline
from safetensors.torch import load_file

from quintet import train
from quintet.config import UserError
from quintet.stages.omni_task import OmniTask
from quintet.timeline.targets import Sample, Vocabulary, live_sample
from quintet.train import TrainConfig
from quintet.train.loop import learning_rate

SETTINGS = TrainConfig(
    steps=12, batch_size=2, learning_rate=1e-2, warmup_steps=3, checkpoint_every=4,
    evaluate_every=5, decay_fraction=0.5,
)  # fmt: skip


class _Killed(Exception):
    pass


def _samples(count: int) -> list[Sample]:
    config = make_config()
    vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
    return [
        live_sample(make_timeline(config, 3 + seed % 4, seed).rows(), 6,
                    config.audio.frames_in, vocabulary)
        for seed in range(count)
    ]  # fmt: skip


class _Dying(OmniTask):
    """Dies at a step, as a process does."""

    dies_at = -1

    def losses(self, module, batch, step):
        if step == self.dies_at:
            raise _Killed
        return super().losses(module, batch, step)


def _task(dies_at: int = -1) -> _Dying:
    samples = _samples(10)
    task = _Dying(make_config(), SETTINGS, samples[:8], samples[8:], start_from=None)
    task.dies_at = dies_at
    return task


def _losses(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("dies_at", [2, 6, 11])
def test_killed_and_resumed_equals_never_stopped(tmp_path: Path, dies_at: int) -> None:
    scores = train.run(_task(), SETTINGS, tmp_path / "whole", "whole")
    with pytest.raises(_Killed):
        train.run(_task(dies_at), SETTINGS, tmp_path / "killed", "killed")
    again = train.run(_task(), SETTINGS, tmp_path / "killed", "killed")
    assert again == scores
    assert _losses(tmp_path / "killed") == _losses(tmp_path / "whole")
    whole, killed = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_what_is_frozen_stays_to_the_bit(tmp_path: Path) -> None:
    samples = _samples(10)

    def task(start: Path | None, steps: int) -> OmniTask:
        return OmniTask(make_config(), replace(SETTINGS, steps=steps), samples[:8], samples[8:],
                        start, trains=lambda name: "audio" in name)  # fmt: skip

    first, second = tmp_path / "first", tmp_path / "second"
    train.run(_task(), SETTINGS, first, "first")
    start = first / "model.safetensors"
    train.run(task(start, 12), SETTINGS, second, "second")
    before, after = load_file(start), load_file(second / "model.safetensors")
    for name in before:
        assert torch.equal(before[name], after[name]) == ("audio" not in name), name


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    config = replace(SETTINGS, steps=60, evaluate_every=60)
    task = _task()
    train.run(task, config, tmp_path, "learns")
    losses = [line["loss"] for line in _losses(tmp_path)]
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


def test_schedule() -> None:
    rates = [learning_rate(step, SETTINGS) for step in range(12)]
    assert rates[:3] == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2])
    assert rates[3:7] == pytest.approx([1e-2] * 4)
    assert rates[7:] == pytest.approx([1e-2 * n / 6 for n in (5, 4, 3, 2, 1)])


def test_a_checkpoint_of_another_shape_is_told(tmp_path: Path) -> None:
    train.run(_task(), replace(SETTINGS, steps=4), tmp_path, "small")
    other = make_config()
    other = replace(other, model=replace(other.model, d_feed_forward=32))
    samples = _samples(10)
    task = OmniTask(other, SETTINGS, samples[:8], samples[8:], None)
    with pytest.raises(UserError, match="does not fit"):
        train.run(task, SETTINGS, tmp_path, "other")
