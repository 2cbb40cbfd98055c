"""A sample that is poison is named, passed over, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config, make_samples
from safetensors.torch import load_file
from short_runs import SETTINGS, DyingOmni, Killed, log_of

from quintet import train
from quintet.config import UserError, load_preset
from quintet.data.shards import load_samples, save_samples
from quintet.data.world.speech_bank import SpeechBank
from quintet.stages.audio_tokenizer import AudioTokenizerTask, CodecSettings
from quintet.stages.image_tokenizer import ImageSettings, ImageTokenizerTask

POISON = 7  # an entry of the vocabulary whose embedding is no number


class _Poisoned(DyingOmni):
    def module(self):
        module = super().module()
        with torch.no_grad():
            module.embedding.text_image.weight[POISON] = torch.nan
        return module


def _task(tmp_path: Path, poisoned: set[int]) -> DyingOmni:
    """On a shard of which the samples `poisoned` begin with that entry, and no others have it."""
    samples = make_samples(10)
    for index, sample in enumerate(samples):
        tokens = sample.rows.tokens
        is_text = sample.rows.modality == 0
        tokens[is_text, 0] = np.where(tokens[is_text, 0] == POISON, 8, tokens[is_text, 0])
        if index in poisoned:
            tokens[np.flatnonzero(sample.rows.modality < 2)[0], 0] = POISON
    path = tmp_path / "shards" / "instruct" / "00003.safetensors"
    save_samples(path, samples)
    read = load_samples(path)
    return _Poisoned(make_config(), SETTINGS, read[:8], read[8:], start_from=None)


def test_a_poisoned_sample_is_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = _task(tmp_path, {5})
    train.run(task, SETTINGS, tmp_path / "run", "one")
    bad = [line for line in log_of(tmp_path / "run") if "batch" in line]
    assert len(bad) == 3  # once an epoch
    for line in bad:
        shard, _, samples = line["batch"].partition(", samples ")
        assert shard == "instruct/00003.safetensors" and "5" in samples.split(", ")
    told = capsys.readouterr().err
    assert f"The loss of step {bad[0]['step']} of one is no number" in told
    assert bad[0]["batch"] in told
    weights = load_file(tmp_path / "run" / "model.safetensors")
    bad_rows = ~weights.pop("embedding.text_image.weight").isfinite().all(1)
    assert bad_rows.nonzero().flatten().tolist() == [POISON]  # as it began
    assert all(weight.isfinite().all() for weight in weights.values())


def test_a_gradient_that_is_no_number_is_passed_over_though_the_loss_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Steep(DyingOmni):
        def losses(self, module, batch, step):
            losses = super().losses(module, batch, step)
            if step == 4:  # zero, and its slope there is infinite
                zero = module.text_image_head.weight[0, 0] * 0
                losses["loss"] = losses["loss"] + zero.sqrt()
            return losses

    samples = make_samples(10)
    task = Steep(make_config(), SETTINGS, samples[:8], samples[8:], start_from=None)
    train.run(task, SETTINGS, tmp_path, "steep")
    assert [line["step"] for line in log_of(tmp_path) if "batch" in line] == [4]
    assert "The loss of step 4 of steep is no number" in capsys.readouterr().err
    weights = load_file(tmp_path / "model.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())


def test_where_every_batch_is_poison_the_run_stops_and_says_where_to_look(tmp_path: Path) -> None:
    config, whole, folder = replace(SETTINGS, steps=16), tmp_path / "whole", tmp_path / "run"
    clean, poisoned = _task(tmp_path, set()), _task(tmp_path, set(range(8)))
    train.run(clean, config, whole, "all")
    clean.dies_at = 9
    with pytest.raises(Killed):
        train.run(clean, config, folder, "all")
    with pytest.raises(UserError, match=r"step 8 to 12 .*log.jsonl names the samples .*mend them"):
        train.run(poisoned, config, folder, "all")
    named = [line["batch"] for line in log_of(folder) if "batch" in line]
    assert len(named) == 5 and all(n.startswith("instruct/00003.safetensors, ") for n in named)
    clean.dies_at = -1
    train.run(clean, config, folder, "all")
    assert log_of(folder) == log_of(whole)


def test_poisoned_sound_is_named_by_its_seconds(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 200_000).astype(np.float16)
    sound[100_000:100_050] = np.nan
    settings = CodecSettings(2, 4, 0.25, (256,), 2)
    task = AudioTokenizerTask(
        load_preset("tiny").audio, settings, SpeechBank(sound), SpeechBank(sound[:90_000]), 2, 0
    )
    task.evaluate = lambda module, done: {}  # type: ignore[method-assign]
    task.show = lambda module, folder: None  # type: ignore[method-assign]
    config = replace(SETTINGS, steps=24, checkpoint_every=24, evaluate_every=24)
    train.run(task, config, tmp_path, "sound")
    bad = [line["batch"] for line in log_of(tmp_path) if "batch" in line]
    assert 1 <= len(bad) < 20
    for batch in bad:
        starts = [
            float(s) for s in batch.removeprefix("clips from seconds ").split(" of ")[0].split(", ")
        ]
        assert any(start < 100_050 / 24_000 and start + 0.25 > 100_000 / 24_000 for start in starts)
    weights = load_file(tmp_path / "audio_tokenizer.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())


def test_a_batch_of_pictures_is_named_by_their_numbers() -> None:
    pictures = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 24, 24, 3), np.uint8
    )
    task = ImageTokenizerTask(
        load_preset("tiny").image, ImageSettings(1), pictures, {"world": pictures}, 4, 0
    )
    shown = sorted((task.batch(3)[:, 0, 0, 0] * 255).round().int().tolist())
    assert task.describe_batch(3) == f"pictures {', '.join(map(str, shown))} of the 40 to train on"
