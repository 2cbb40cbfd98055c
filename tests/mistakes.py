"""Recipes with a mistake in them: told before anything runs, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.config import UserError
from quintet.stages.recipe import Recipe


def check_told(text: str, right: str, wrong: str, told: str, folder: Path) -> None:
    """A recipe in which `wrong` stands for `right` is refused with what matches `told`."""
    assert right in text
    recipe = folder / "mine.toml"
    recipe.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(UserError, match=told) as raised:
        Recipe.load(str(recipe), folder / "runs")
    assert str(raised.value).endswith(".") and "\n" not in str(raised.value)
