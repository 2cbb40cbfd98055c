"""A GPU gives the numbers that the CPU gives. Skipped where there is none."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_samples, make_timeline, make_tokenizers

import quintet
from quintet import train
from quintet.config import STEP_SAMPLES, OmniConfig, load_preset
from quintet.live import Engine, Sampling, Session
from quintet.model import attention
from quintet.model.cache import KVCache
from quintet.model.embedding import RowTensors
from quintet.model.omni import Batch, Omni
from quintet.stages.omni_task import OmniTask
from quintet.timeline.masks import FOREVER
from quintet.timeline.packing import pack
from quintet.timeline.targets import Sample, live_sample
from quintet.train import TrainConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

GPU = torch.device("cuda")
CLOSE = {"rtol": 1e-3, "atol": 1e-4}  # other kernels, and sums in another order


def _nano() -> OmniConfig:
    """Heads of 32 places: kernels on blocks take none that are narrower than 16."""
    sizes = load_preset("nano")
    return replace(sizes, model=replace(sizes.model, num_layers=2))


def _scenes(config: OmniConfig, model: Omni, *lengths: int) -> list[Sample]:
    budget, audio = config.live.text_image_rows_per_step, config.audio
    return [
        live_sample(make_timeline(config, n, n).rows(), budget, audio.frames_in, model.vocabulary)
        for n in lengths
    ]


def _losses_and_gradients(model: Omni, batch: Batch, precision: torch.dtype) -> dict[str, float]:
    model.zero_grad(set_to_none=True)
    with torch.autocast(model.device.type, precision, enabled=precision != torch.float32):
        losses = model.losses(batch, 4.0, 1.0)
    losses["loss"].backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norms = {f"gradient {i}": float(g.norm()) for i, g in enumerate(gradients)}
    return {name: float(loss.detach()) for name, loss in losses.items()} | norms


@pytest.mark.parametrize(
    ("rows", "window", "short"),
    [(0, FOREVER, 1_024), (0, 3, 1_024), (400, FOREVER, 1_024), (400, 3, 0), (400, 3, 1_024)],
    ids=["plain", "window", "packed", "packed, window, blocks", "packed, window"],
)
def test_losses_and_gradients(
    monkeypatch: pytest.MonkeyPatch, rows: int, window: int, short: int
) -> None:
    monkeypatch.setattr(attention, "SHORT", short)  # rows up to which a mask is dense
    config = _nano()
    model = make_model(config)
    for parameter in model.parameters():
        parameter.data *= 0.3 if parameter.ndim > 1 else 1.0
    lines = pack(_scenes(config, model, 12, 5, 9, 7), rows)
    batch, other = Batch.from_lines(lines, window), copy.deepcopy(model).to(GPU)
    expected = _losses_and_gradients(model, batch, torch.float32)
    moved = batch.to(GPU)
    assert _losses_and_gradients(other, moved, torch.float32) == pytest.approx(expected, rel=2e-3)
    reduced = _losses_and_gradients(other, moved, torch.bfloat16)
    for name in ("text_image", "audio", "turn"):
        assert reduced[name] == pytest.approx(expected[name], rel=2e-2)


@torch.no_grad()
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("replayed", [False, True])
def test_cached_rows(rotary: bool, replayed: bool) -> None:
    """Two sessions, of which one waits, row by row and in pieces."""
    sizes = make_config()
    config = replace(sizes, model=replace(sizes.model, rotary=rotary))
    model = make_model(config)
    tables = [make_timeline(config, steps, steps).rows() for steps in (4, 6)]
    expected = [model(RowTensors.from_rows([rows]))[0] for rows in tables]
    model.to(GPU).cuda_graphs = replayed
    cache = KVCache(config.model, 128, 2, GPU)
    for start in range(0, max(map(len, tables)), 3):
        pieces = [rows.take(slice(start, start + 3)) for rows in tables]
        is_row_BT = np.array([[i < len(piece) for i in range(3)] for piece in pieces])
        filled = [
            rows.take(np.minimum(np.arange(start, start + 3), len(rows) - 1)) for rows in tables
        ]
        made = model(RowTensors.from_rows(filled).to(GPU), cache=cache, is_row_BT=is_row_BT)
        for index, piece in enumerate(pieces):
            mine = made[index, : len(piece)].cpu()
            torch.testing.assert_close(mine, expected[index][start : start + len(piece)], **CLOSE)


@pytest.mark.parametrize("replayed", [False, True])
def test_a_session_hears_and_says_the_same(replayed: bool) -> None:
    """The bundled model, asked for a picture by text: greedily, so that nothing is left to luck."""
    greedy = Sampling(0.0, 0.0, 0.0)
    heard = np.random.default_rng(0).normal(0, 1e-3, (40, STEP_SAMPLES)).astype(np.float32)
    made = []
    for device in ("cpu", "cuda"):
        system = quintet.load("nano").to(device, replayed and device == "cuda")
        session = system.session(greedy)
        asked = {2: "draw a cat."}
        made.append([session.step(sound, text=asked.get(i)) for i, sound in enumerate(heard)])
    assert any(step.image_done for step in made[0]) and any(step.speaking for step in made[0])
    for mine, theirs in zip(*made, strict=True):
        assert mine.text == theirs.text and mine.counts == theirs.counts
        np.testing.assert_allclose(mine.no_output, theirs.no_output, atol=2e-3)


@pytest.mark.parametrize("replayed", [False, True])
def test_sessions_side_by_side(replayed: bool) -> None:
    config = make_config()
    model, tokenizers = make_model(config).to(GPU), make_tokenizers(config)
    model.cuda_graphs = replayed
    hot = Sampling(1.0, 1.0, 1.0, 1.0)
    heard = np.random.default_rng(1).normal(0, 0.1, (2, 5, STEP_SAMPLES)).astype(np.float32)
    engine = Engine(model, tokenizers, 3)
    seats = [engine.join(hot, seed) for seed in range(2)]
    alone = [Session(model, tokenizers, hot, seed) for seed in range(2)]
    for step in range(heard.shape[1]):
        together = engine.step({seat: (heard[seat, step], None, None) for seat in seats})
        for seat in seats:
            assert together[seat].counts == alone[seat].step(heard[seat, step]).counts  # type: ignore[union-attr]


@pytest.mark.parametrize("way", ["as it is", "compile", "cuda_graphs"])
def test_a_run_learns_what_a_cpu_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """And goes on from its checkpoint."""
    samples = make_samples(12)
    plain = TrainConfig(8, 4, learning_rate=3e-3, warmup_steps=2, checkpoint_every=4)
    settings = plain if way == "as it is" else replace(plain, **{way: True})

    def task() -> OmniTask:
        return OmniTask(make_config(), settings, samples[:8], samples[8:], None, window_steps=3)

    scores = train.run(task(), settings, tmp_path / "gpu", "gpu")
    for checkpoint in sorted((tmp_path / "gpu" / "checkpoints").iterdir())[-1:]:
        for file in checkpoint.iterdir():
            file.unlink()  # the last one is damaged, so that it goes on from the one before
    resumed = train.run(task(), settings, tmp_path / "gpu", "gpu")
    assert resumed["eval/loss"] == pytest.approx(scores["eval/loss"], rel=1e-2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    task_on_cpu = OmniTask(make_config(), plain, samples[:8], samples[8:], None, window_steps=3)
    expected = train.run(task_on_cpu, plain, tmp_path / "cpu", "cpu")
    assert scores["eval/loss"] == pytest.approx(expected["eval/loss"], rel=1e-2)
