"""Batches made ahead: the same ones, in order, and no thread stays."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from conftest import make_config, make_samples
from short_runs import SETTINGS, DyingOmni, Killed, log_of, omni

from quintet import train
from quintet.config import UserError
from quintet.data.mixture import Mixture
from quintet.data.shards import ShardIndex, Shards, save_samples
from quintet.train.prefetch import Prefetch


def test_batches_come_in_order_from_another_thread() -> None:
    makers = set()

    def make(step: int) -> int:
        makers.add(threading.get_ident())
        return step * step

    with Prefetch(make, 3, 9) as ahead:
        assert [ahead.take() for _ in range(3, 9)] == [step * step for step in range(3, 9)]
    assert makers and threading.get_ident() not in makers


def test_they_are_made_while_the_training_works() -> None:
    made = threading.Semaphore(0)
    with Prefetch(lambda step: made.release(), 0, 10):
        for _ in range(2):  # none was taken
            assert made.acquire(timeout=10)


def test_what_goes_wrong_is_told_where_the_batch_is_taken() -> None:
    def make(step: int) -> int:
        if step == 1:
            raise ValueError("a shard is damaged")
        return step

    with Prefetch(make, 0, 5) as ahead:
        assert ahead.take() == 0
        with pytest.raises(ValueError, match="a shard is damaged"):
            ahead.take()


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_no_thread_stays_wherever_the_training_ends(taken: int) -> None:
    before = threading.active_count()
    with Prefetch(lambda step: time.sleep(0.001), 0, 5) as ahead:
        for _ in range(taken):
            ahead.take()
    assert threading.active_count() == before


def test_batches_made_ahead_change_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DyingOmni.made_ahead
    ahead = train.run(omni(), SETTINGS, tmp_path / "ahead", "ahead")
    monkeypatch.setattr(DyingOmni, "made_ahead", False)
    assert train.run(omni(), SETTINGS, tmp_path / "in turn", "in turn") == ahead
    assert log_of(tmp_path / "in turn") == log_of(tmp_path / "ahead")
    lines = (tmp_path / "ahead" / "log.jsonl").read_text().splitlines()
    waiting = [json.loads(line)["waiting"] for line in lines if "waiting" in line]
    assert len(waiting) == SETTINGS.steps and all(0 <= share <= 1 for share in waiting)


def _on_sources(folder: Path, weights: tuple[float, float]) -> DyingOmni:
    """On two folders of shards, mixed."""
    sources = []
    for name, samples in (("a", make_samples(12)), ("b", make_samples(5))):
        path = folder / name / "00000.safetensors"
        if not path.exists():
            save_samples(path, samples)
        rows = sum(map(len, samples))
        sources.append(
            Shards(ShardIndex(path.parent, "pretrain", "x", (path.name,), (len(samples),), rows))
        )
    mixture = Mixture(sources, weights)
    return DyingOmni(make_config(), SETTINGS, mixture, make_samples(2), start_from=None)


def test_a_run_on_sources_that_was_killed_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    scores = train.run(_on_sources(tmp_path, (2, 1)), SETTINGS, tmp_path / "whole", "whole")
    dying = _on_sources(tmp_path, (2, 1))
    dying.dies_at = 6  # in the middle of the batches that are sorted together
    with pytest.raises(Killed):
        train.run(dying, SETTINGS, tmp_path / "killed", "killed")
    with pytest.raises(UserError, match="sources"):  # not with another mixture
        train.run(_on_sources(tmp_path, (1, 1)), SETTINGS, tmp_path / "killed", "again")
    again = train.run(_on_sources(tmp_path, (2, 1)), SETTINGS, tmp_path / "killed", "again")
    assert again == scores and log_of(tmp_path / "killed") == log_of(tmp_path / "whole")
