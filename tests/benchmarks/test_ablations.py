"""The variants of the ablations are what they say, and are judged alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_config, make_timeline

from benchmarks.ablation_models import MODELS, with_silence
from benchmarks.ablations import SCORES, VARIANTS, judge
from quintet.config import OmniConfig
from quintet.model.embedding import RowTensors
from quintet.model.omni import Batch, Omni
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import NOT_ASKED, Sample, live_sample


@pytest.fixture(scope="module")
def config() -> OmniConfig:
    return make_config()


def _scenes(config: OmniConfig, model: str) -> list[Sample]:
    audio, vocabulary = config.audio, Omni(config).vocabulary
    tables = [make_timeline(config, steps, steps).rows() for steps in (5, 7)]
    if model == "silence rows":
        return [with_silence(t, audio.frames_in, vocabulary, audio.num_codebooks) for t in tables]
    budget = config.live.text_image_rows_per_step
    return [live_sample(t, budget, audio.frames_in, vocabulary) for t in tables]


@pytest.mark.parametrize("name", MODELS)
def test_every_variant_learns(config: OmniConfig, name: str) -> None:
    torch.manual_seed(0)
    model, batch = MODELS[name](config), Batch.from_samples(_scenes(config, name))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = model.losses(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None for p in model.parameters())
    scores = judge(model.eval(), _scenes(config, name))
    assert {*scores, "ms"} == set(SCORES) and np.isfinite(list(scores.values())).all()


@torch.no_grad()
@pytest.mark.parametrize("name", ["added", "rotary"])
def test_order_and_time_still_matter(config: OmniConfig, name: str) -> None:
    """But for the start of the clock, which a rotation, being relative, cannot tell."""
    torch.manual_seed(0)
    model, rows = MODELS[name](config).eval(), make_timeline(config, 4, 0).rows()
    for block in model.transformer.layers:  # they begin at zero, and would see nothing
        torch.nn.init.normal_(block.attention.output.weight, std=0.3)

    def last(table: object) -> torch.Tensor:
        return model(RowTensors.from_rows([table]))[0, -1]  # type: ignore[list-item]

    plain = last(rows)
    stretched = replace(rows, step=rows.step * 2)
    assert not torch.allclose(plain, last(stretched), atol=1e-4)
    order = np.r_[np.arange(len(rows) - 1)[::-1], len(rows) - 1]
    shuffled = replace(rows.take(order), position=rows.position, step=rows.step)
    assert not torch.allclose(plain, last(shuffled), atol=1e-4)
    later = last(rows.shifted(steps=5, positions=0))
    assert torch.allclose(plain, later, atol=1e-4) == (name == "rotary")


@torch.no_grad()
def test_without_the_flag_who_made_a_row_is_not_told(config: OmniConfig) -> None:
    model, rows = MODELS["no source flag"](config), make_timeline(config, 4, 0).rows()
    tensors = RowTensors.from_rows([rows])
    turned = replace(tensors, flag=1 - tensors.flag)
    assert torch.equal(model(tensors), model(turned))
    assert not torch.equal(MODELS["as it is"](config)(tensors), model(turned))


def test_silence_spelt_out_fills_every_step(config: OmniConfig) -> None:
    audio, vocabulary = config.audio, Omni(config).vocabulary
    rows = make_timeline(config, 6, 1).rows()
    sample = with_silence(rows, audio.frames_in, vocabulary, audio.num_codebooks)
    spelt = sample.rows
    for step in range(1, 6):
        mine = spelt.step == step
        spoken = mine & (spelt.stream == Stream.AUDIO_OUT)
        assert spoken.sum() == audio.frames_in(step)
        words = spelt.tokens[mine & (spelt.stream == Stream.TEXT_OUT), 0]
        assert (words == vocabulary.text_no_output).sum() == 1
        assert words[-1] == vocabulary.text_no_output
    silent = (spelt.tokens[:, 0] == vocabulary.audio_no_output) & (spelt.modality == Modality.AUDIO)
    silent |= spelt.tokens[:, 0] == vocabulary.text_no_output
    kept = spelt.take(~silent & ((spelt.step > 0) | (spelt.flag == 0)))
    before = rows.take((rows.step > 0) | (rows.flag == 0))
    assert np.array_equal(kept.tokens, before.tokens)
    made = int((spelt.flag == 1).sum())
    asked = (sample.text_target != NOT_ASKED) | (sample.audio_target[:, 0] != NOT_ASKED)
    assert asked.sum() == made  # each is asked for, once


def test_the_table_names_what_the_models_have() -> None:
    assert set(MODELS) <= set(VARIANTS)
    assert {variant.model for variant in VARIANTS.values()} == set(MODELS)
