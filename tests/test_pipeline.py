"""The whole pipeline at its smallest: every stage runs, each from what the last one made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import quintet
from quintet.config import UserError
from quintet.media.emoji import render_emoji
from quintet.stages.recipe import RECIPES, STAGES, Recipe, is_finished, run_stage


def _missing() -> str | None:
    if shutil.which("espeak-ng") is None:
        return "espeak-ng is not installed"
    try:
        render_emoji("🍎")
    except UserError as error:
        return str(error)
    return None


needs_world = pytest.mark.skipif(_missing() is not None, reason=_missing() or "")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe, run from nothing."""
    runs = tmp_path_factory.mktemp("runs")
    for context in Recipe.load("tiny", runs).stages:
        run_stage(context)
    return runs


def test_recipes_name_every_stage_in_order() -> None:
    for path in RECIPES.glob("*.toml"):
        recipe = Recipe.load(str(path), Path("runs"))
        assert {context.settings["stage"] for context in recipe.stages} == set(STAGES)
        names = [context.name for context in recipe.stages]
        assert len(names) == len(set(names))
        for place, context in enumerate(recipe.stages):
            assert context.settings.get("start_from", names[0]) in names[:place] or place == 0


@needs_world
def test_the_result_is_a_model(runs: Path, tmp_path: Path) -> None:
    model = quintet.load(runs / "tiny" / "release" / "model")
    assert "scores" in model.card
    reply = model.talk(text="hello.")
    reply.save(tmp_path / "reply")
    assert (tmp_path / "reply" / "timeline.png").stat().st_size > 1_000
    model.chat([{"role": "user", "content": "hello."}])
    with model.session() as session:
        assert len(session.step(reply.audio[:6_000]).audio) == 6_000


@needs_world
def test_finished_stages_are_not_run_again(runs: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    for context in Recipe.load("tiny", runs).stages:
        assert is_finished(context)
        run_stage(context)
    assert before == {p: p.stat().st_mtime_ns for p in runs.rglob("*") if p.is_file()}


@needs_world
def test_a_stage_that_was_stopped_makes_the_same_again(runs: Path, tmp_path: Path) -> None:
    """Half of the shards are lost and the stage is run again: the same bytes."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    folder = copy / "tiny" / "documents"
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    for path in list(before)[::2]:
        path.unlink()
    (folder / "scores.json").unlink()
    run_stage(Recipe.load("tiny", copy).only("documents")[0])
    assert before == {path: path.read_bytes() for path in folder.rglob("*.safetensors")}


@needs_world
def test_a_stage_without_what_it_needs_says_which_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="text_tokenizer"):
        run_stage(Recipe.load("tiny", tmp_path).only("documents")[0])
