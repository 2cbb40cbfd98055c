"""Sizes at equal cost: what a step costs, how long each trains, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_config, make_samples

from benchmarks import scaling
from benchmarks.ablations import Variant, preset_of
from quintet.config import OmniConfig
from quintet.model.omni import Omni
from quintet.timeline.targets import NOT_ASKED
from quintet.train.memory import Layout, sizes
from quintet.train.plan import work


def test_the_size_that_is_called_nano_s_is_and_all_are_models() -> None:
    assert scaling.preset_for("192 x 6") == preset_of(Variant())
    presets = [scaling.preset_for(size) for size in scaling.SIZES]
    assert {preset.model.head_width for preset in presets} == {32}
    parameters = [sizes(preset).total for preset in presets]
    assert parameters == sorted(parameters)
    with torch.device("meta"):
        made = [sum(p.numel() for p in Omni(preset).parameters()) for preset in presets]
    assert made == parameters


def test_the_learning_rate_falls_as_the_width_grows() -> None:
    rates = {size: scaling.rate_for(scaling.preset_for(size)) for size in scaling.SIZES}
    assert rates["192 x 6"] == scaling.RATE
    assert rates["96 x 4"] == 2 * scaling.RATE and rates["384 x 10"] == scaling.RATE / 2


def test_the_batches_that_are_counted_are_those_of_training() -> None:
    """Of samples of similar lengths, which need little padding."""
    config, short, long = make_config(), make_samples(1)[0], make_samples(4)[3]
    assert len(long) > 1.2 * len(short)
    each = [scaling.batch_flops(config, [one] * scaling.BATCH) for one in (short, long)]
    targets = short.text_target, short.audio_target[:, 0]
    heads = [float(np.mean(target != NOT_ASKED)) for target in targets]
    text, audio = heads
    layout = Layout(
        1, samples=scaling.BATCH, rows=len(short), text_share=text, audio_share=audio,
        checkpointing=False,
    )  # fmt: skip
    assert each[0] == work(config, layout).model
    both = scaling.batch_flops(config, [short, long] * 8 * scaling.BATCH)
    assert both == pytest.approx(np.mean(each), rel=0.05)


def test_a_size_trains_as_long_as_the_budget_pays_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, asked = make_samples(14), list[str]()

    def shards(variant: Variant, out: Path, kind: str) -> list[Any]:
        asked.append(kind)
        return samples

    def preset_for(size: str) -> OmniConfig:
        return make_config()

    monkeypatch.setattr(scaling, "shards", shards)
    monkeypatch.setattr(scaling, "preset_for", preset_for)
    monkeypatch.setattr(scaling, "MEASURED", 3)
    step = scaling.batch_flops(make_config(), samples * 3) / scaling.TERA
    scores = scaling.train_size("96 x 4", 2.2 * step, tmp_path)
    assert set(scores) >= set(scaling.SCORES) and scores["steps"] == 2
    assert scores["parameters"] == sizes(make_config()).total
    assert set(asked) == {"realtime", "transcribe", "describe", "realtime_test"}
    asked.clear()
    assert scaling.train_size("96 x 4", 2.2 * step, tmp_path) == scores and not asked
    results = {("96 x 4", 2.2 * step): scores}
    scaling.plot(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1_000
    assert scaling.show(results).row_count == 1
