"""Where one recipe says that it trains what another does, it does; and a recipe's remedies can be
typed as they are told."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quintet.cli import commands
from quintet.config import UserError
from quintet.stages.context import MODEL_FILE, Context
from quintet.stages.recipe import RECIPES, Recipe

# Stages of nano.toml that train what is bundled by itself: the recipe of that, and its names of
# them, where others.
REPEATED = {
    "codec": {"codec": "audio_tokenizer", "refine": "refine", "finish": "finish",
              "audio_tokenizer": "settle"},
    "pictures-4k": {"image_tokenizer": "image_tokenizer"},
}  # fmt: skip


def _settings(context: Context, names: dict[str, str]) -> dict[str, Any]:
    """What a stage is given, the stage that it starts from under the other recipe's name."""
    settings = context.settings | {"train": context.train}
    if "start_from" in settings:
        settings["start_from"] = names[settings["start_from"]]
    return settings


@pytest.mark.parametrize("recipe", REPEATED)
def test_nano_repeats_the_recipes_of_its_tokenizers(recipe: str) -> None:
    mine, others = (
        {context.name: context for context in Recipe.load(name, Path("runs")).stages}
        for name in ("nano", recipe)
    )
    names = REPEATED[recipe]
    assert list(others) == list(names.values())
    assert [name for name in mine if name in names] == list(names)
    same = {name: name for name in others}
    for name, other in names.items():
        settings, theirs = _settings(mine[name], names), _settings(others[other], same)
        # Of the transformer alone, and set for all stages of the one recipe.
        settings["train"] = replace(settings["train"], compile=theirs["train"].compile)
        assert settings == theirs, name


@pytest.mark.parametrize("runs", ["runs", "my runs"])
@pytest.mark.parametrize("own", [False, True])
def test_the_command_that_a_remedy_names_runs_what_is_missing(
    runs: str, own: bool, tmp_path: Path
) -> None:
    recipe = "multiplication"
    if own:
        (tmp_path / "my recipe.toml").write_bytes((RECIPES / f"{recipe}.toml").read_bytes())
        recipe = str(tmp_path / "my recipe.toml")
    (context,) = Recipe.load(recipe, Path(runs)).only("internalize")
    with pytest.raises(UserError, match="run that stage first") as told:
        context.start("explicit")
    command = str(told.value).split("(")[1].split(")")[0]
    assert command == context.command("explicit")
    program, name, *arguments = shlex.split(command)
    parsed = commands.commands[name].make_context(program, arguments).params
    assert parsed["stage"] == "explicit"
    (missing,) = Recipe.load(parsed["recipe"], parsed["runs"]).only(parsed["stage"])
    assert missing.folder / MODEL_FILE == context.run_folder / "explicit" / MODEL_FILE


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; name a recipe's TOML file, or one of"):
        Recipe.load(str(tmp_path), Path("runs"))
