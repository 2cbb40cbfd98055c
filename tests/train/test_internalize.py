"""Internalization removes what it should, when it should, and resumes across a removal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from short_runs import Dying, Killed, log_of, with_characters

from quintet import train
from quintet.config import ModelConfig, UserError, load_preset
from quintet.data.reasoning import FreshProducts, Problem
from quintet.evals import reasoning as evals
from quintet.evals.reasoning import _row, right_answers, written_in
from quintet.model.omni import Omni
from quintet.stages import internalize
from quintet.stages.context import Context
from quintet.stages.internalize import InternalizeTask, Removal, maker_of, run
from quintet.train import TrainConfig

PRESET = replace(
    load_preset("multiplication"), model=ModelConfig(32, 8, 2, 1, 2, 1, 32)
)  # fmt: skip
SETTINGS = TrainConfig(
    steps=12, batch_size=8, learning_rate=1e-2, warmup_steps=2, checkpoint_every=4,
    evaluate_every=20,
)  # fmt: skip
# Two digits: 3 + 1 + 4 rows of reasoning and the mark. Rows go before steps 3, 5, 7 and 9.
REMOVAL = Removal("removed", longest=9, explicit_steps=3, steps_between=2, rows_at_once=3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_characters(tmp_path_factory.mktemp("runs"), PRESET)


def _context(runs: Path, **settings: object) -> Context:
    return Context("internalize", PRESET, {"stage": "internalize", **settings}, runs)


class _Dying(Dying, InternalizeTask):
    """Keeps what happened: the steps at which the optimizer was young again."""


def _task(runs: Path, removal: Removal = REMOVAL) -> _Dying:
    maker = maker_of(_context(runs))
    fresh = FreshProducts(maker, 2, "train", SETTINGS.batch_size, SETTINGS.seed)
    tested = FreshProducts(maker, 2, "test", 8, 0).batch(0)
    return _Dying(
        PRESET, SETTINGS, fresh.batch(0), tested, None, removal=removal, maker=maker, fresh=fresh
    )


def test_the_schedule() -> None:
    assert [REMOVAL.removed(step) for step in range(12)] == [0, 0, 0, 3, 3, 6, 6, 9, 9, 9, 9, 9]
    assert {replace(REMOVAL, reasoning="written").removed(s) for s in range(12)} == {0}
    assert {replace(REMOVAL, reasoning="none").removed(s) for s in range(12)} == {9}


def test_some_removals_wait_longer() -> None:
    slower = replace(REMOVAL, longer={6: 4})
    assert [slower.removed(step) for step in range(12)] == [0, 0, 0, 3, 3, 6, 6, 6, 6, 9, 9, 9]
    assert [s for s in range(12) if slower.begins_anew(s)] == [3, 5, 9]
    assert replace(slower, steps_between=4).removed(6) == 3
    one = replace(REMOVAL, explicit_steps=0, steps_between=1, rows_at_once=1, longer={9: 50, 1: 3})
    assert [one.removed(step) for step in range(13)] == [1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9]


def test_what_is_left_moves_up_at_its_time() -> None:
    later = replace(REMOVAL, moves_up_at=11)
    assert [s for s in range(14) if REMOVAL.begins_anew(s)] == [3, 5, 7]
    assert [s for s in range(14) if later.begins_anew(s)] == [3, 5, 7, 11]
    assert [s for s in range(14) if replace(REMOVAL, moves_up_at=2).begins_anew(s)] == [3, 5, 7]
    assert [later.first(step, 9) for step in range(13)] == [0] * 3 + [3] * 2 + [6] * 2 + [
        9, 9, 9, 9, 0, 0,
    ]  # fmt: skip
    for removal in (REMOVAL, replace(later, reasoning="written"), replace(later, reasoning="none")):
        assert {removal.first(step, 9) for step in range(13)} == {0}


def test_an_answer_stays_where_it_will_be() -> None:
    stays = replace(REMOVAL, answer_stays=True)
    assert [stays.first(step, 9) for step in range(9)] == [0, 0, 0, 3, 3, 6, 6, 0, 0]
    assert [stays.first(step, 6) for step in range(9)] == [0, 0, 0, 3, 3, 0, 0, 0, 0]
    assert [s for s in range(12) if stays.begins_anew(s)] == [3, 5, 7]


@pytest.mark.parametrize("stays", [False, True])
def test_training_and_evaluation_have_the_same_positions(
    stays: bool, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of reasoning of several lengths, of which some are gone before others."""
    told: list[list[int]] = []

    def spied(model, text, mark, samples, firsts, answer_stays):
        told.append(firsts)
        assert answer_stays == stays
        return right_answers(model, text, mark, samples, firsts, answer_stays=answer_stays)

    monkeypatch.setattr(internalize, "right_answers", spied)
    monkeypatch.setattr(Removal, "of_samples", lambda self, s, n, _: np.full(n, self.removed(s)))
    placed: dict[str, Any] = {"answer_stays": True} if stays else {"moves_up_at": 10}
    task = _task(runs, replace(REMOVAL, **placed))
    maker = task.maker
    problems = [Problem("12*34", "1" * length, "408") for length in (1, 4, 5, 8, 2, 8, 3, 0)]
    samples = [maker.sample(problem) for problem in problems]
    task.fresh = SimpleNamespace(batch=lambda step: samples, digits=2)
    task.held_out.samples[:] = samples
    begins = []
    for step in range(SETTINGS.steps):
        rows = task.batch(step).rows
        written = [rows.position[line][rows.flag[line] == 1] for line in range(len(samples))]
        begins += [sorted(int(positions[0]) for positions in written)]  # lines are in no order
    assert begins[5] == ([0] * 6 + [6] * 2 if stays else [1, 2, 3, 4, 5, 6, 6, 6])
    assert begins[11] == [0] * 8
    train.run(task, replace(SETTINGS, evaluate_every=1), tmp_path, "spied")
    assert [sorted(firsts) for firsts in told] == begins
    assert told[5] == ([0, 0, 0, 6, 0, 6, 0, 0] if stays else [2, 5, 6, 6, 3, 6, 4, 1])


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("gone", [0, 2, 8, 9])
def test_an_answer_is_written_where_training_had_it(
    gone: int, stays: bool, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is written, here what a sample has; the reasoning is of two lengths."""
    removal = Removal("removed", 9, gone, 99, 9, moves_up_at=0 if stays else 99, answer_stays=stays)
    monkeypatch.setattr(Removal, "removed", lambda self, step: gone)
    maker, model = maker_of(_context(runs)), Omni(PRESET)
    samples = [maker.sample(Problem("12*34", "1" * length, "408")) for length in (8, 4)]
    firsts = [removal.first(0, len(maker.reasoning_rows(sample))) for sample in samples]
    placed = [maker.without(sample, gone, removal.placement(0)) for sample in samples]
    entries = [[*written_in(sample), 0, 0, 0, 0, 0, 0] for sample in placed]
    steps, seen = iter(range(99)), []

    def likeliest(model, text, hidden_BD):
        place = next(steps)
        chosen = np.array([line[place] for line in entries])
        return chosen, np.array([place < len(written_in(sample)) for sample in placed])

    def row(model, entry, place):
        seen.append(place)
        return _row(model, entry, place)

    monkeypatch.setattr(evals, "_likeliest", likeliest)
    monkeypatch.setattr(evals, "_row", row)
    right, written = right_answers(model, maker.text, maker.mark, placed, firsts, 2, stays)
    assert right.all()
    for index, sample in enumerate(placed):
        positions = sample.rows.position[sample.rows.flag == 1].tolist()
        assert seen[index::2][: written[index]] == positions


def test_smoothing_is_as_published() -> None:
    counts = np.concatenate([REMOVAL.of_samples(0, 1_000, seed) for seed in range(50)])
    assert np.array_equal(REMOVAL.of_samples(4, 9, 0), REMOVAL.of_samples(4, 9, 0))
    for more in range(3):
        expected = (1 - np.exp(-4.0)) * np.exp(-4.0 * more)
        assert np.mean(counts == more) == pytest.approx(expected, rel=0.35)


def test_what_is_left_of_a_batch(runs: Path) -> None:
    task = _task(runs)
    whole, late = task.batch(0), task.batch(11)
    longest = 2 + 1 + 2 + 1  # the question and its end
    assert whole.rows.step.shape == (8, longest + 8 + 1 + 4 + 1)
    assert late.rows.step.shape == (8, longest + 4 + 1)


def test_the_optimizer_forgets_at_each_removal(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam's count of steps begins again at 3, 5 and 7, and nowhere else."""
    ages: list[int] = []
    take = torch.optim.AdamW.step

    def counted(self, *arguments):
        done = take(self, *arguments)
        ages.append(max(int(state["step"]) for state in self.state.values()))
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    task = _task(runs)
    train.run(task, SETTINGS, tmp_path, "ages")
    assert [task.resets_optimizer(step) for step in range(8)] == [
        False, False, False, True, False, True, False, True,
    ]  # fmt: skip
    assert ages == [1, 2, 3, 1, 2, 1, 2, 1, 2, 3, 4, 5]


def test_killed_around_a_removal_and_resumed_equals_never_stopped(
    runs: Path, tmp_path: Path
) -> None:
    scores = train.run(_task(runs), SETTINGS, tmp_path / "whole", "whole")
    assert set(scores) == {"eval/right", "eval/entries"}
    config = replace(SETTINGS, checkpoint_every=1)
    for dies_at in (3, 4, 5, 8):  # at a removal, after it, at the next, after the last
        task, folder = _task(runs), tmp_path / f"killed at {dies_at}"
        task.dies_at = dies_at
        with pytest.raises(Killed):
            train.run(task, config, folder, "killed")
        assert train.run(_task(runs), config, folder, "again") == scores
        assert log_of(folder) == log_of(tmp_path / "whole")
        whole, again = (load_file(f / "model.safetensors") for f in (tmp_path / "whole", folder))
        assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_run_does_not_go_on_with_another_schedule(runs: Path, tmp_path: Path) -> None:
    task = _task(runs)
    task.dies_at = 6
    with pytest.raises(Killed):
        train.run(task, SETTINGS, tmp_path, "killed")
    for name, value in (
        ("rows_at_once", 2),
        ("longer", {6: 3}),
        ("moves_up_at", 11),
        ("answer_stays", True),
    ):
        with pytest.raises(UserError, match=f"made with removal.{name}"):
            train.run(_task(runs, replace(REMOVAL, **{name: value})), SETTINGS, tmp_path, "other")


def test_large_batches_train_and_too_few_samples_are_told(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "run", lambda task, *_: {"tested": task.held_out.samples})
    table = {"steps": 1, "batch_size": 200}
    settings: dict[str, object] = {"reasoning": "none", "train": table}
    tested: Any = run(_context(runs, digits=2, **settings))["tested"]
    kept_out = FreshProducts(maker_of(_context(runs)), 2, "test", 200, 0).batch(0)
    for one, other in zip(tested, kept_out, strict=True):
        assert np.array_equal(one.rows.tokens, other.rows.tokens)
    few = _task(runs).loader.batch(0)
    monkeypatch.setattr(internalize, "samples_of", lambda context, kind: few)
    with pytest.raises(UserError, match="batch_size = 200 and 8 samples to train on"):
        run(_context(runs, **settings))


def test_reasoning_has_the_form_that_is_set(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "run", lambda task, *_: {"task": task})
    settings: dict[str, object] = {"digits": 2, "train": {"steps": 20, "batch_size": 4}}
    for form, rows in (
        ({}, 3 + 1 + 4 + 1),
        ({"form": "columns"}, 10),
        ({"form": "columns_by_digit"}, 10),
    ):
        context = _context(runs, **settings, **form)
        task: Any = run(context)["task"]
        assert task.removal.longest == rows
        made = task.fresh.batch(7) + task.held_out.samples
        assert {len(task.maker.reasoning_rows(sample)) for sample in made} == {rows}
    with pytest.raises(UserError, match="form of multiplications and makes none; set digits"):
        internalize.check(_context(runs, form="rows"))


def test_a_schedule_without_end_is_told(runs: Path) -> None:
    table = {"steps": 8, "batch_size": 4}
    with pytest.raises(UserError, match="with 1 of 9 rows of reasoning left; give it more steps"):
        run(_context(runs, digits=2, train=table))
    for odd in ("5", "six", "-6", "0", "9", "12"):
        with pytest.raises(UserError, match=f"steps for '{odd}' rows in longer, and waits"):
            run(_context(runs, digits=2, rows_at_once=3, longer={odd: 9}, train=table))
    with pytest.raises(UserError, match="with 3 of 9 rows of reasoning left"):
        run(_context(runs, digits=2, rows_at_once=3, longer={"6": 9}, train=table))
    with pytest.raises(UserError, match="moves_up_at = 1, before which nothing has gone"):
        run(_context(runs, digits=2, moves_up_at=1, explicit_steps=2, train=table | {"steps": 12}))
    with pytest.raises(UserError, match="moves_up_at and answer_stays, with which nothing ever"):
        run(_context(runs, digits=2, moves_up_at=9, answer_stays=True, train=table | {"steps": 12}))
    told = "would end before what is left moves up, at step 12; give it more steps or"
    with pytest.raises(UserError, match=told):
        run(_context(runs, digits=2, moves_up_at=12, train=table | {"steps": 12}))
