"""The image tokenizer's benchmark runs at a tiny size and gives its figures; none is asserted."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import image, search


def _here(function: Callable[..., tuple[float, float]], *arguments: object) -> tuple[float, float]:
    """Without the child process, which would import torch anew for each case."""
    return function(*arguments)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"CODES": 256, "VECTORS": 40, "WIDTH": 8, "ROUNDS": 1, "SEARCH_ROUNDS": 1, "BLOCK": 100}
    for name, value in sizes.items():
        monkeypatch.setattr(image, name, value)
    monkeypatch.setattr(image, "LARGE", "tiny")
    monkeypatch.setattr(image, "_fresh", _here)


def test_image(model_folder: Path) -> None:
    threads = torch.get_num_threads()
    try:
        rows = image.run(str(model_folder))
    finally:
        torch.set_num_threads(threads)
    assert len({row["name"] for row in rows}) == len(rows) == 2 * 4 + 2 * 4 + 2 * 4 + 1
    for row in rows:
        assert math.isfinite(row["value"]) and row["value"] >= 0
        assert row["unit"] in ("s", "MB")
    limits = {row["peer"] for row in rows if row["unit"] == "MB"}
    assert limits == {None, image.MEMORY_LIMIT, image.SEARCH_MEMORY_LIMIT}


def test_the_searches_agree() -> None:
    codes_KD, vectors_ND = search.trained_like(8, 50, 330)
    first, *others = (image._search(form, codes_KD)(vectors_ND) for form in image.FORMS)
    assert all(torch.equal(first, other) for other in others)


def test_a_case_runs_in_a_process_of_its_own(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    seconds, megabytes = image._fresh(image._measure_search, "ours", 256, 40, 8, 1)
    assert seconds > 0 and megabytes >= 0
