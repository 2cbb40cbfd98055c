"""Resume equals never having stopped, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config
from safetensors.torch import load_file
from short_runs import SETTINGS, Dying, DyingOmni, Killed, log_of, make_samples, omni

from quintet import train
from quintet.config import UserError, load_preset
from quintet.data.world.speech_bank import SpeechBank
from quintet.stages.audio_tokenizer import AudioTokenizerTask, CodecSettings
from quintet.stages.image_tokenizer import ImageSettings, ImageTokenizerTask
from quintet.stages.omni_task import OmniTask
from quintet.tokenizers.quantize import VectorQuantizer
from quintet.train import TrainConfig
from quintet.train.loop import learning_rate


class _Quantized(Dying):
    """Codes that nothing chose restart at once, so that twelve steps see restarts."""

    def module(self):
        module = super().module()
        for part in module.modules():
            if isinstance(part, VectorQuantizer):
                part.patience = 0.01
        return module


class _DyingCodec(_Quantized, AudioTokenizerTask):
    def evaluate(self, module, done):
        step = self.settings.fill_step
        return {"mel": float(self.losses(module, self.batch(0), step)["mel"])}

    def show(self, module, folder):
        """Nothing: drawing takes longer than training here."""


class _DyingPictures(_Quantized, ImageTokenizerTask):
    def evaluate(self, module, done):
        step = self.settings.fill_step
        return {"absolute": float(self.losses(module, self.batch(0), step)["absolute"])}


def _codec(config: TrainConfig) -> Dying:
    noise = np.random.default_rng(0).standard_normal(200_000).astype(np.float16)
    bank, settings = SpeechBank(noise), CodecSettings(5, 7, 0.25, (256,), 2)
    audio = load_preset("tiny").audio
    return _DyingCodec(audio, settings, bank, bank, config.batch_size, config.seed)


def _pictures(config: TrainConfig) -> Dying:
    """On noise, which needs no font."""
    image = load_preset("tiny").image
    noise = np.random.default_rng(0).integers(256, size=(70, 24, 24, 3), dtype=np.uint8)
    settings = ImageSettings(5, 7, 2)
    held_out = {"world": noise[:2]}
    return _DyingPictures(image, settings, noise, held_out, config.batch_size, config.seed)


RUNS = [(make, precision) for make in (omni, _codec, _pictures)
        for precision in ("float32", "bfloat16")]  # fmt: skip


@pytest.mark.parametrize(("make", "precision"), RUNS)
def test_killed_and_resumed_equals_never_stopped(
    tmp_path: Path, make: Callable[[TrainConfig], Dying], precision: str
) -> None:
    config = replace(SETTINGS, precision=precision)
    scores = train.run(make(config), config, tmp_path / "whole", "whole")
    files = {path.name: path for path in (tmp_path / "whole").glob("*.safetensors")}
    assert files
    for dies_at in (2, 6, 11):  # before a checkpoint; after codebooks are filled; at the end
        folder = tmp_path / f"killed at {dies_at}"
        task = make(config)
        task.dies_at = dies_at
        with pytest.raises(Killed):
            train.run(task, config, folder, "killed")
        assert train.run(make(config), config, folder, "again") == scores
        assert log_of(folder) == log_of(tmp_path / "whole")
        for name, path in files.items():
            whole, killed = load_file(path), load_file(folder / name)
            assert all(torch.equal(whole[key], killed[key]) for key in whole)


def _stopped(folder: Path) -> None:
    """A run in `folder` that died in its seventh step."""
    task = omni()
    task.dies_at = 6
    with pytest.raises(Killed):
        train.run(task, SETTINGS, folder, "killed")


@pytest.mark.parametrize(
    "change", [{"steps": 24}, {"batch_size": 1}, {"learning_rate": 1e-3}, {"seed": 1},
               {"betas": (0.8, 0.9)}, {"precision": "bfloat16"}],
)  # fmt: skip
def test_a_run_does_not_go_on_with_other_settings(tmp_path: Path, change: dict) -> None:
    _stopped(tmp_path)
    before = (tmp_path / "log.jsonl").read_text()
    config = replace(SETTINGS, **change)
    with pytest.raises(UserError, match=f"made with {next(iter(change))} = .* or delete .*again.$"):
        train.run(omni(config), config, tmp_path, "other")
    assert (tmp_path / "log.jsonl").read_text() == before


def test_a_run_goes_on_with_another_rhythm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    train.run(omni(), SETTINGS, tmp_path / "whole", "whole")
    _stopped(tmp_path / "killed")
    config = replace(SETTINGS, checkpoint_every=3, evaluate_every=6, threads=2)
    train.run(omni(), config, tmp_path / "killed", "again")
    whole, again = (log_of(tmp_path / name) for name in ("whole", "killed"))
    steps = [[line["step"] for line in lines if "loss" in line] for lines in (whole, again)]
    assert steps[0] == steps[1] == list(range(12))


def test_a_log_that_was_cut_in_a_line_goes_on(tmp_path: Path) -> None:
    train.run(omni(), SETTINGS, tmp_path / "whole", "whole")
    _stopped(tmp_path / "killed")
    with (tmp_path / "killed" / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "loss": 5.')
    train.run(omni(), SETTINGS, tmp_path / "killed", "again")
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")


class _DiesInExport(DyingOmni):
    def export(self, module, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise Killed


def test_a_half_export_never_has_its_final_name(tmp_path: Path) -> None:
    samples = make_samples(10)
    task = _DiesInExport(make_config(), SETTINGS, samples[:8], samples[8:], start_from=None)
    with pytest.raises(Killed):
        train.run(task, SETTINGS, tmp_path, "killed")
    assert not (tmp_path / "model.safetensors").exists()
    train.run(omni(), SETTINGS, tmp_path, "again")
    assert load_file(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoints", "digests.json", "log.jsonl", "model.safetensors"}


def test_what_is_frozen_stays_to_the_bit(tmp_path: Path) -> None:
    samples = make_samples(10)

    def task(start: Path | None, steps: int) -> OmniTask:
        return OmniTask(make_config(), replace(SETTINGS, steps=steps), samples[:8], samples[8:],
                        start, trains=lambda name: "audio" in name)  # fmt: skip

    first, second = tmp_path / "first", tmp_path / "second"
    train.run(omni(), SETTINGS, first, "first")
    start = first / "model.safetensors"
    train.run(task(start, 12), SETTINGS, second, "second")
    before, after = load_file(start), load_file(second / "model.safetensors")
    for name in before:
        assert torch.equal(before[name], after[name]) == ("audio" not in name), name


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    config = replace(SETTINGS, steps=60, evaluate_every=60)
    task = omni()
    train.run(task, config, tmp_path, "learns")
    losses = [line["loss"] for line in log_of(tmp_path)]
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


def test_schedule() -> None:
    rates = [learning_rate(step, SETTINGS) for step in range(12)]
    assert rates[:3] == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2])
    assert rates[3:7] == pytest.approx([1e-2] * 4)
    assert rates[7:] == pytest.approx([1e-2 * n / 6 for n in (5, 4, 3, 2, 1)])
