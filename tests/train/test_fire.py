"""The restart law under fire: `quintet train` in its own process, killed for good, and run again.

A few kills by default, at the moments that matter most. `QUINTET_FIRE=8` kills each stage of
quintet/recipes/tiny.toml so many times, at random moments:

    QUINTET_FIRE=8 python -m pytest -s tests/train/test_fire.py -k every_stage
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from conftest import needs_world
from fire import Death, End, leftovers, random_death, results, train

from quintet.stages.recipe import RECIPES

KILLS = int(os.environ.get("QUINTET_FIRE", "0"))  # of each stage
SEED = int(os.environ.get("QUINTET_FIRE_SEED", "0"))
SMALL = """
preset = "tiny"
[train]
steps = 5
batch_size = 2
warmup_steps = 2
checkpoint_every = 2
evaluate_every = 4
loggers = ["tensorboard"]
[[stages]]
name = "text_tokenizer"
lines = 400
[[stages]]
name = "audio_tokenizer"
utterances = 4
held_out_utterances = 4
fill_at = 0.2
clip_seconds = 0.5
[stages.train]
steps = 2
[[stages]]
name = "image_tokenizer"
pictures = 16
held_out_pictures = 2
fill_at = 0.4
[stages.train]
[[stages]]
name = "documents"
shard_size = 5
pictures_each = 1
processes = 1
[stages.shards]
pretrain = 1
instruct = 2
[[stages]]
name = "pretrain"
held_out = 2
[stages.train]
[[stages]]
name = "instruct"
start_from = "pretrain"
held_out = 2
[stages.train]
"""
# Moments in a stage of the transformer, in the order in which a run comes to them.
DEATHS = [
    Death(1, r"os.rename .*log\.jsonl.*partial"),
    Death(1, r"open .*/log\.jsonl'"),
    Death(1, "open .*00000002.partial/__0_0", 1_000),  # half a checkpoint
    Death(1, "os.rename .*00000002.partial"),  # a whole one that has not its name
    Death(1, "open .*samples/000004/1.txt", 10),
    Death(1, r"open .*losses.png.*partial", 500),
    Death(1, "os.rename .*00000004.partial"),
    Death(1, "open .*events.out.tfevents", 50),
    Death(1, "shutil.rmtree .*00000002'"),  # the oldest goes
    Death(1, "os.mkdir .*export.partial", 1_000),  # half of the weights
    Death(1, r"os.rename .*export.partial/model.safetensors"),
    Death(1, "open .*scores.json.*partial", 10),
    Death(1, "os.rename .*scores.json.*partial"),
]

pytestmark = needs_world


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that never stopped."""
    runs = tmp_path_factory.mktemp("whole")
    end = train(recipe, runs)
    assert end.exitcode == 0, end.errors
    return runs / "small"


def _without(whole: Path, made: set[str], runs: Path) -> Path:
    """A copy of a run in which nothing is yet of the folders `made`."""
    shutil.copytree(
        whole,
        runs / whole.name,
        ignore=lambda at, names: made & set(names) if at == str(whole) else (),
    )
    return runs / whole.name


def test_killed_at_every_turn_it_ends_as_if_never_stopped(
    recipe: Path, whole: Path, tmp_path: Path
) -> None:
    run = _without(whole, {"instruct"}, tmp_path)
    for death in DEATHS:
        end = train(recipe, tmp_path, "instruct", death)
        assert end.died, f"{death} did not come: {end}"
    assert train(recipe, tmp_path, "instruct").exitcode == 0
    assert results(run) == results(whole)
    assert not leftovers(run)


@pytest.mark.parametrize("stage", ["text_tokenizer", "image_tokenizer", "pretrain"])
def test_killed_at_random_it_ends_as_if_never_stopped(
    stage: str, recipe: Path, whole: Path, tmp_path: Path
) -> None:
    run, rng = _without(whole, {stage}, tmp_path), random.Random(f"{SEED} {stage}")
    for _ in range(3):
        train(recipe, tmp_path, stage, random_death(rng, 60, 1.0))
    assert train(recipe, tmp_path, stage).exitcode == 0
    assert results(run) == results(whole)


def _kill_a_worker(parent: int) -> None:
    """The first process below one of ours that makes documents."""
    while True:
        for entry in Path(f"/proc/{parent}/task").glob("*/children"):
            for child in entry.read_text().split():
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)
                    return
        time.sleep(0.05)


def test_documents_go_on_when_they_or_a_helper_of_theirs_is_killed(
    recipe: Path, whole: Path, tmp_path: Path
) -> None:
    run = _without(whole, {"documents"}, tmp_path)
    end = train(recipe, tmp_path, "documents", meanwhile=_kill_a_worker)
    assert end.exitcode == 2
    assert end.errors.startswith("A process of the stage 'documents' was killed")
    shard = run / "documents" / "pretrain" / "00000.safetensors"
    end = train(recipe, tmp_path, "documents", Death(seconds=0), lambda _: _wait_for(shard))
    assert end.died and not (run / "documents" / "scores.json").exists()
    assert train(recipe, tmp_path, "documents").exitcode == 0
    assert results(run) == results(whole)


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


@pytest.mark.skipif(not KILLS, reason="QUINTET_FIRE says how often to kill each stage")
def test_every_stage_under_fire(tmp_path: Path) -> None:
    recipe, whole, rng = RECIPES / "tiny.toml", tmp_path / "whole" / "tiny", random.Random(SEED)
    whole.mkdir(parents=True)
    survived = {}
    for table in recipe.read_text(encoding="utf-8").split("[[stages]]\nname = ")[1:]:
        stage = table.split('"')[1]
        survived[stage] = _survived(recipe, whole, tmp_path / "runs", stage, rng, KILLS)
        print(f"{stage}: {survived[stage]} kills", flush=True)
    print(f"survived {sum(survived.values())} kills in {len(survived)} stages")


def _survived(
    recipe: Path, whole: Path, runs: Path, stage: str, rng: random.Random, most: int
) -> int:
    """Let `stage` go on in `whole` without a kill, then apart from it with so many."""
    before, kills = set(whole.iterdir()), 0
    alone = train(recipe, whole.parent, stage)
    assert alone.exitcode == 0, alone.errors
    expected, made = results(whole), {path.name for path in set(whole.iterdir()) - before}
    while kills < most:
        shutil.rmtree(runs, ignore_errors=True)
        run = _without(whole, made, runs)
        kills += _under_fire(recipe, runs, stage, rng, alone, most - kills)
        assert results(run) == expected
        assert stage == "documents" or not leftovers(run)
    return kills


def _under_fire(
    recipe: Path, runs: Path, stage: str, rng: random.Random, alone: End, most: int
) -> int:
    """Kill until the stage has ended in spite of it, or often enough; how often it was."""
    for kills in range(most + 1):
        death = random_death(rng, alone.changes, alone.seconds) if kills < most else Death()
        end = train(recipe, runs, stage, death)
        assert end.died or end.exitcode in (0, 2), end  # 2: a helper had its file cut off
        if end.exitcode == 0:
            break
    if not (runs / recipe.stem / stage / "scores.json").exists():
        assert train(recipe, runs, stage).exitcode == 0
    return kills
