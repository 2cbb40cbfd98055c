"""Short runs of the transformer's training, and what their logs say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from conftest import make_config, make_samples

from quintet.config import OmniConfig
from quintet.stages.context import Context
from quintet.stages.omni_task import OmniTask
from quintet.stages.recipe import run_stage
from quintet.timeline.targets import NOT_ASKED, Sample
from quintet.train import Task, TrainConfig

SETTINGS = TrainConfig(
    steps=12, batch_size=2, learning_rate=1e-2, warmup_steps=3, checkpoint_every=4,
    evaluate_every=5, decay_fraction=0.5,
)  # fmt: skip


class Killed(Exception):
    pass


class Dying(Task):
    """Dies at a step, as a process does."""

    dies_at = -1

    def losses(self, module, batch, step):
        if step == self.dies_at:
            raise Killed
        return super().losses(module, batch, step)


class DyingOmni(Dying, OmniTask):
    pass


def uneven_samples(count: int) -> list[Sample]:
    """Of which each third one asks nothing of the audio head."""
    samples = make_samples(count)
    for index in range(0, count, 3):
        target = samples[index].audio_target
        samples[index] = replace(samples[index], audio_target=target * 0 + NOT_ASKED)
    return samples


def omni(config: TrainConfig = SETTINGS) -> DyingOmni:
    samples = make_samples(10)
    return DyingOmni(make_config(), config, samples[:8], samples[8:], start_from=None)


def with_characters(runs: Path, preset: OmniConfig) -> Path:
    """The folder of runs, with a text tokenizer that has an entry for each digit."""
    settings = {"stage": "text_tokenizer", "characters": "0123456789*+()#"}
    run_stage(Context("text_tokenizer", preset, settings, runs))
    return runs


def log_of(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's log, without times."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "waiting")} for line in lines]
