"""Every way to learn codebooks learns, on vectors that have something to be learned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import codebook_ways, codebooks
from benchmarks.codebooks import LatentTask
from quintet import train
from quintet.train import TrainConfig


@pytest.mark.parametrize("way", sorted(codebook_ways.WAYS))
def test_a_way_learns(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebooks, "VECTORS", 256)
    monkeypatch.setattr(codebooks, "FINAL_VECTORS", (100, 400))
    monkeypatch.setattr(codebooks, "LATENT_DIM", 8)
    torch.manual_seed(0)
    vectors = torch.randn(40, 8)[torch.randint(40, (3_000,))] + 0.05 * torch.randn(3_000, 8)
    task = LatentTask(way, 64, vectors[:2_000], vectors[2_000:])
    config = TrainConfig(60, 256, 1e-2, 5, decay_fraction=0.2, evaluate_every=100)
    scores = train.run(task, config, tmp_path, way)
    assert scores["eval/error"] < 0.5 and 0 < scores["eval/used_0"] <= 1
    assert (tmp_path / "curve.json").is_file()
