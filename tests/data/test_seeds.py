"""No scene is made for two purposes, and those of seed 0 are what they were."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conftest import needs_world

from quintet.config import UserError, load_preset
from quintet.data.world.seeds import SEEDS, SEEDS_OF_A_KIND, seeds_of
from quintet.evals import behaviour, counting, report, speakers
from quintet.stages import documents
from quintet.stages.context import Context

# The first seeds of each set, and how many later values of the setting `seed` have their own.
FIRST = {
    "realtime": (0, 24), "encounters": (0, 24), "sights": (0, 24), "counting": (0, 24),
    "speakers": (25_000_000, 4), "moments": (30_000_000, 9), "interruptions": (40_000_000, 9),
    "realtime_test": (50_000_000, 19), "encounters_test": (50_000_000, 19),
}  # fmt: skip
EVAL = {"eval": 70_000_000, "eval_encounters": 90_000_000, "eval_speakers": 110_000_000,
        "eval_counting": 170_000_000, "eval_long_session": 180_000_000}  # fmt: skip


def _nobody(*_: object) -> Any:
    raise AssertionError("a scene is made first")


@needs_world
def test_no_two_sets_have_a_seed_in_common() -> None:
    ranges = sorted(set(SEEDS.values()), key=lambda seeds: seeds.start)
    assert all(one.stop <= other.start and one.step == 1 for one, other in pairwise(ranges))
    shared = [name for name in SEEDS if list(SEEDS.values()).count(SEEDS[name]) > 1]
    training = ["realtime", "encounters", "sights", "counting"]
    held_out = ["realtime_test", "encounters_test"]
    assert shared == [*training, *held_out]
    for together in (training, held_out):  # which have makers of their own
        made = [make(3, split) for make, split in map(documents.SCENES.__getitem__, together)]
        assert len({scene.microphone.tobytes() for scene in made}) == len(together)


def test_the_sets_begin_where_they_always_did() -> None:
    begin = {name: seeds.start for name, seeds in SEEDS.items()}
    assert begin == {name: first for name, (first, _) in FIRST.items()} | EVAL
    assert set(FIRST) == set(documents.SCENES)


def _documents(folder: Path, kind: str, seed: int, count: int = 1, size: int = 3) -> Context:
    settings = {"stage": "documents", "seed": seed, "shard_size": size, "shards": {kind: count}}
    return Context("documents", load_preset("tiny"), settings, folder)


@pytest.mark.parametrize("kind", FIRST)
def test_a_shard_holds_the_scenes_of_its_seeds(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[int]] = []
    split = documents.SCENES[kind][1]
    monkeypatch.setitem(documents.SCENES, kind, (lambda seed, split: seed, split))
    monkeypatch.setattr(documents, "save_samples", lambda path, samples: made.append(samples))
    worker = object.__new__(documents._Worker)
    worker.size, worker.scenes = 3, SimpleNamespace(sample=lambda scene: scene)  # type: ignore
    for worker.seed, index in ((0, 0), (0, 2), (1, 2)):
        worker.context = _documents(tmp_path, kind, worker.seed)
        worker.make((kind, index))
    first = FIRST[kind][0]
    assert [seeds[0] - first for seeds in made] == [0, 6, 1_000_006]
    assert all(seeds == list(range(seeds[0], seeds[0] + 3)) for seeds in made)


@pytest.mark.parametrize("kind", FIRST)
def test_documents_that_another_set_has_are_refused(kind: str, tmp_path: Path) -> None:
    last = FIRST[kind][1]
    documents.check(_documents(tmp_path, kind, last))
    documents.check(_documents(tmp_path, "pretrain", last + 1))  # of no scenes
    documents.check(_documents(tmp_path, kind, last, 1_000_000, size=1))
    for seed, count in ((last + 1, 1), (last, 1_000_001)):
        with pytest.raises(UserError, match=rf"Of '{kind}' there are .*; lower the seed, or"):
            documents.check(_documents(tmp_path, kind, seed, count, size=1))


@pytest.mark.parametrize(
    ("module", "of", "play"),
    [
        (report, "eval", lambda: report.play(SimpleNamespace(session=None), 1, 0)),  # type: ignore
        (behaviour, "eval_encounters", lambda: behaviour.behaviour(_nobody, 1)),
        (counting, "eval_counting", lambda: counting.play_counted(_nobody, 1)),
        (behaviour, "eval_long_session", lambda: behaviour.length(_nobody, 1, 1)),  # type: ignore
        (speakers, "eval_speakers", lambda: speakers.speaks_as(_nobody, None, None, 1)),  # type: ignore
    ],
)
def test_each_part_of_the_report_card_plays_scenes_of_its_own(
    module: ModuleType, of: str, play: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(seed: int, *_: object, **__: object) -> None:
        raise LookupError(seed)

    for name in {"make_scene", "make_encounter", "make_sights"} & vars(module).keys():
        monkeypatch.setattr(module, name, make)
    with pytest.raises(LookupError) as made:
        play()
    assert made.value.args[0] in SEEDS[of]


def test_the_report_card_has_no_scenes_of_others() -> None:
    kinds, each = len(report.SCENES), SEEDS_OF_A_KIND
    last = 20_000_000 // (kinds * each) - 1  # the highest seed of a report
    assert last == 21 and seeds_of("eval", (last * kinds + kinds - 1) * each, each)[0] < 90_000_000
    with pytest.raises(
        UserError, match=r"Of 'eval' there are 20,000,000 scenes, and .* 20,200,000"
    ):
        seeds_of("eval", (last + 1) * kinds * each + 300_000, each)
