"""The scores of reasoning, of models that have hardly begun."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import reasoning
from benchmarks.reasoning import SEED, SHOWN, curve, main, rows_of, shown
from quintet.config import UserError
from quintet.data.reasoning import FreshProducts, world_problem
from quintet.evals import reasoning as evals
from quintet.evals.reasoning import write
from quintet.stages import internalize
from quintet.stages.context import Context
from quintet.stages.internalize import maker_of
from quintet.stages.recipe import Recipe, run_stage

RECIPE = """
preset = "multiplication"
[train]
batch_size = 8
[[stages]]
name = "text_tokenizer"
characters = "0123456789*+()#"
[[stages]]
name = "explicit"
stage = "internalize"
digits = 2
reasoning = "written"
train = { steps = 1 }
[[stages]]
name = "internalize"
start_from = "explicit"
digits = 2
rows_at_once = 5
train = { steps = 3, evaluate_every = 1 }
[[stages]]
name = "direct"
stage = "internalize"
digits = 2
reasoning = "none"
train = { steps = 1 }
[[stages]]
name = "think"
digits = 2
train = { steps = 1 }
"""
SPELLING = """
preset = "nano"
tokenizers = "nano"
[[stages]]
name = "documents"
shard_size = 8
pictures_each = 1
processes = 1
shards = { reasoning = 1, reasoning_test = 1 }
[[stages]]
name = "explicit"
stage = "internalize"
reasoning = "written"
train = { steps = 1, batch_size = 4 }
"""


def test_one_command_prints_all_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internalize, "ANSWERED", 8)
    monkeypatch.setattr(reasoning, "TIMED", 4)
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    stages = Recipe.load(str(path), tmp_path).stages
    for context in (*stages[:3], stages[4]):
        run_stage(context)
    told, kept = CliRunner(), tmp_path / "scores.json"
    done = told.invoke(
        main, ["--runs", str(tmp_path), "--recipe", str(path), "--count", "60", "--json", str(kept)]
    )
    assert done.exit_code == 0, done.output
    rows = {row["name"]: row for row in json.loads(kept.read_text())["rows"]}
    assert set(rows) == {
        f"{model}, {figure}" for model in ("explicit", "internalize", "think")  # not "direct"
        for figure in ("right", "entries", "answer")
    }  # fmt: skip
    assert rows["internalize, answer"]["value"] > 0 and rows["internalize, answer"]["n"] == 4
    drawn = FreshProducts(maker_of(stages[1]), 2, "test", 60, SEED).batch(0)
    different = {sample.rows.tokens.tobytes() for sample in drawn}
    assert rows["explicit, right"]["n"] == len(different) < 60  # drawn twice, it counts once
    assert 0 <= rows["explicit, right"]["low"] <= rows["explicit, right"]["high"] <= 1
    # Two digits: 3 + 1 + 4 rows and the mark; removed before steps 0 and 1, none is left.
    assert [removed for removed, _ in curve(stages[2])] == [5, 9]
    assert "rows removed" in done.output and "27*36 is 72 times 63" in done.output
    for asked, _, right in shown(stages[1]):
        first, second = (int(number[::-1]) for number in asked.split("*"))
        assert 10 <= first <= 99 and right == f"{first * second:04d}"[::-1]
        assert asked in done.output
    assert len(shown(stages[1])) == SHOWN
    _positions_are_those_of_training(stages[1], stages[2], monkeypatch)


def _positions_are_those_of_training(
    explicit: Context, internalized: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int | None] = []

    def spied(*arguments, **further):
        told.append(further.get("anew_after", arguments[5] if len(arguments) > 5 else None))
        return write(*arguments, **further)

    monkeypatch.setattr(reasoning, "write", spied)
    monkeypatch.setattr(evals, "write", spied)
    mark = maker_of(explicit).mark
    for stage, timed in ((explicit, False), (internalized, True)):  # turn mode goes on counting
        stays = replace(stage, settings=stage.settings | {"answer_stays": True})
        figures = {row["name"].split(", ")[1] for row in rows_of(stays, 5)}
        assert figures == {"right", "entries"} | ({"answer"} if timed else set())
        shown(stays)
    shown(explicit)
    assert told == [mark, mark, mark, mark, None]


def test_a_recipe_that_has_not_run_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--runs", str(tmp_path), "--recipe", "multiplication-2"])
    assert isinstance(done.exception, UserError)
    assert "run quintet train multiplication-2, or name" in str(done.exception)


def test_questions_of_the_world_are_judged_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(internalize, "ANSWERED", 4)
    monkeypatch.setattr(reasoning, "TIMED", 2)
    path = tmp_path / "mine.toml"
    path.write_text(SPELLING)
    stages = Recipe.load(str(path), tmp_path).stages
    for context in stages:
        run_stage(context)
    right, _, _, *of_kinds = rows_of(stages[1], 40)
    rng = np.random.default_rng(SEED)
    problems = [world_problem(rng, "test") for _ in range(40)]
    asked = {problem.question: problem.kind for problem in problems}
    assert right["name"] == "explicit, right" and right["n"] == len(asked) < 40
    kinds = Counter(f"explicit, right, {kind}" for kind in asked.values())
    assert {row["name"]: row["n"] for row in of_kinds} == kinds and len(kinds) == 4
    told = [row["value"] * row["n"] for row in of_kinds]
    assert sum(told) == pytest.approx(right["value"] * right["n"])
