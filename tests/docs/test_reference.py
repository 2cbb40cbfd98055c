"""The page on the reference says what the preset and the code say."""

from __future__ import annotations

import functools
import re
from types import SimpleNamespace

import pytest
import torch

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, STEPS_PER_SECOND, load_preset
from quintet.model.omni import Omni
from scripts.settings_tables import _written
from scripts.write_docs import ROOT

PAGE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
NUMBERS = re.findall(r"^\|[^|]*\| ([^|]*) \| `([\w.]+)` \|$", PAGE, re.MULTILINE)
PLACES = re.findall(r"^\| [^|]* \| `(quintet/[\w/]+\.py)`: (.*) \|$", PAGE, re.MULTILINE)


@functools.cache
def _value(name: str) -> object:
    preset = load_preset("reference")
    with torch.device("meta"):
        parameters = sum(p.numel() for p in Omni(preset).parameters())
    found: object = SimpleNamespace(
        **vars(preset), SAMPLE_RATE=SAMPLE_RATE, STEP_SAMPLES=STEP_SAMPLES,
        STEPS_PER_SECOND=STEPS_PER_SECOND, billion_parameters=round(parameters / 1e9),
    )  # fmt: skip
    for part in name.split("."):
        found = getattr(found, part)
    return found


def test_the_tables_are_read() -> None:
    assert len(NUMBERS) == 20 and len(PLACES) == 22


@pytest.mark.parametrize(("says", "name"), NUMBERS, ids=[name for _, name in NUMBERS])
def test_the_preset_has_the_number(says: str, name: str) -> None:
    written = _written(_value(name))
    assert re.search(rf"(?<![\d,.]){re.escape(written)}(?![\d.])", says), f"{name} is {written}"


@pytest.mark.parametrize(("file", "names"), PLACES, ids=[f"{f}-{n}" for f, n in PLACES])
def test_the_code_is_where_the_page_says(file: str, names: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    for name in re.findall(r"`(\w+)`", names):
        assert re.search(rf"\b{name}\b", text), f"{file} has no {name}"
