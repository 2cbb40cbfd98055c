"""Where one recipe says that it trains what another does, it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quintet.stages.context import Context
from quintet.stages.recipe import Recipe

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
