"""Resume equals never having stopped, to the last digit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config, make_timeline
from safetensors.torch import load_file

from quintet import train
from quintet.config import UserError, load_preset
from quintet.data.world.speech_bank import SpeechBank
from quintet.stages.audio_tokenizer import AudioTokenizerTask, CodecSettings
from quintet.stages.image_tokenizer import ImageSettings, ImageTokenizerTask
from quintet.stages.omni_task import OmniTask
from quintet.timeline.targets import Sample, Vocabulary, live_sample
from quintet.tokenizers.quantize import VectorQuantizer
from quintet.train import Task, TrainConfig
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


class _Dying(Task):
    """Dies at a step, as a process does."""

    dies_at = -1

    def losses(self, module, batch, step):
        if step == self.dies_at:
            raise _Killed
        return super().losses(module, batch, step)


class _DyingOmni(_Dying, OmniTask):
    pass


class _Quantized(_Dying):
    """Codes that nothing chose restart at once, so that twelve steps see restarts."""

    def module(self):
        module = super().module()
        for part in module.modules():
            if isinstance(part, VectorQuantizer):
                part.patience = 0.01
        return module


class _DyingCodec(_Quantized, AudioTokenizerTask):
    def evaluate(self, module):
        step = self.settings.fill_step
        return {"mel": float(self.losses(module, self.batch(0), step)["mel"])}

    def show(self, module, folder):
        """Nothing: drawing takes longer than training here."""


class _DyingPictures(_Quantized, ImageTokenizerTask):
    def evaluate(self, module):
        step = self.settings.fill_step
        return {"absolute": float(self.losses(module, self.batch(0), step)["absolute"])}


def _omni(config: TrainConfig = SETTINGS) -> _Dying:
    samples = _samples(10)
    return _DyingOmni(make_config(), config, samples[:8], samples[8:], start_from=None)


def _codec(config: TrainConfig) -> _Dying:
    noise = np.random.default_rng(0).standard_normal(200_000).astype(np.float16)
    bank, settings = SpeechBank(noise), CodecSettings(5, 7, 0.25, (256,), 2)
    audio = load_preset("tiny").audio
    return _DyingCodec(audio, settings, bank, bank, config.batch_size, config.seed)


def _pictures(config: TrainConfig) -> _Dying:
    """On noise, which needs no font."""
    image = load_preset("tiny").image
    noise = np.random.default_rng(0).integers(256, size=(70, 24, 24, 3), dtype=np.uint8)
    settings = ImageSettings(5, 7, 2)
    held_out = {"world": noise[:2]}
    return _DyingPictures(image, settings, noise, held_out, config.batch_size, config.seed)


def _losses(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


RUNS = [(make, precision) for make in (_omni, _codec, _pictures)
        for precision in ("float32", "bfloat16")]  # fmt: skip


@pytest.mark.parametrize(("make", "precision"), RUNS)
def test_killed_and_resumed_equals_never_stopped(
    tmp_path: Path, make: Callable[[TrainConfig], _Dying], precision: str
) -> None:
    config = replace(SETTINGS, precision=precision)
    scores = train.run(make(config), config, tmp_path / "whole", "whole")
    files = {path.name: path for path in (tmp_path / "whole").glob("*.safetensors")}
    assert files
    for dies_at in (2, 6, 11):  # before a checkpoint; after codebooks are filled; at the end
        folder = tmp_path / f"killed at {dies_at}"
        task = make(config)
        task.dies_at = dies_at
        with pytest.raises(_Killed):
            train.run(task, config, folder, "killed")
        assert train.run(make(config), config, folder, "again") == scores
        assert _losses(folder) == _losses(tmp_path / "whole")
        for name, path in files.items():
            whole, killed = load_file(path), load_file(folder / name)
            assert all(torch.equal(whole[key], killed[key]) for key in whole)


def _stopped(folder: Path) -> None:
    """A run in `folder` that died in its seventh step."""
    task = _omni()
    task.dies_at = 6
    with pytest.raises(_Killed):
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
        train.run(_omni(config), config, tmp_path, "other")
    assert (tmp_path / "log.jsonl").read_text() == before


def test_a_run_goes_on_with_another_rhythm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    train.run(_omni(), SETTINGS, tmp_path / "whole", "whole")
    _stopped(tmp_path / "killed")
    config = replace(SETTINGS, checkpoint_every=3, evaluate_every=6, threads=2)
    train.run(_omni(), config, tmp_path / "killed", "again")
    whole, again = (_losses(tmp_path / name) for name in ("whole", "killed"))
    steps = [[line["step"] for line in lines if "loss" in line] for lines in (whole, again)]
    assert steps[0] == steps[1] == list(range(12))


def test_a_checkpoint_without_a_record_of_its_settings_goes_on(tmp_path: Path) -> None:
    """As all were written before there was one."""
    _stopped(tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del state["config"]
    torch.save(state, tmp_path / "checkpoint.pt")
    train.run(_omni(), SETTINGS, tmp_path, "again")
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["config"] == asdict(SETTINGS)


def test_a_log_that_was_cut_in_a_line_goes_on(tmp_path: Path) -> None:
    train.run(_omni(), SETTINGS, tmp_path / "whole", "whole")
    _stopped(tmp_path / "killed")
    with (tmp_path / "killed" / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "loss": 5.')
    train.run(_omni(), SETTINGS, tmp_path / "killed", "again")
    assert _losses(tmp_path / "killed") == _losses(tmp_path / "whole")


class _DiesInExport(_DyingOmni):
    def export(self, module, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise _Killed


def test_a_half_export_never_has_its_final_name(tmp_path: Path) -> None:
    samples = _samples(10)
    task = _DiesInExport(make_config(), SETTINGS, samples[:8], samples[8:], start_from=None)
    with pytest.raises(_Killed):
        train.run(task, SETTINGS, tmp_path, "killed")
    assert not (tmp_path / "model.safetensors").exists()
    train.run(_omni(), SETTINGS, tmp_path, "again")
    assert load_file(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoint.pt", "log.jsonl", "model.safetensors"}


def test_what_is_frozen_stays_to_the_bit(tmp_path: Path) -> None:
    samples = _samples(10)

    def task(start: Path | None, steps: int) -> OmniTask:
        return OmniTask(make_config(), replace(SETTINGS, steps=steps), samples[:8], samples[8:],
                        start, trains=lambda name: "audio" in name)  # fmt: skip

    first, second = tmp_path / "first", tmp_path / "second"
    train.run(_omni(), SETTINGS, first, "first")
    start = first / "model.safetensors"
    train.run(task(start, 12), SETTINGS, second, "second")
    before, after = load_file(start), load_file(second / "model.safetensors")
    for name in before:
        assert torch.equal(before[name], after[name]) == ("audio" not in name), name


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    config = replace(SETTINGS, steps=60, evaluate_every=60)
    task = _omni()
    train.run(task, config, tmp_path, "learns")
    losses = [line["loss"] for line in _losses(tmp_path)]
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


def test_schedule() -> None:
    rates = [learning_rate(step, SETTINGS) for step in range(12)]
    assert rates[:3] == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2])
    assert rates[3:7] == pytest.approx([1e-2] * 4)
    assert rates[7:] == pytest.approx([1e-2 * n / 6 for n in (5, 4, 3, 2, 1)])


def test_a_checkpoint_of_another_shape_is_told(tmp_path: Path) -> None:
    train.run(_omni(), SETTINGS, tmp_path, "small")
    other = make_config()
    other = replace(other, model=replace(other.model, d_feed_forward=32))
    samples = _samples(10)
    task = OmniTask(other, SETTINGS, samples[:8], samples[8:], None)
    with pytest.raises(UserError, match="does not fit"):
        train.run(task, SETTINGS, tmp_path, "other")
