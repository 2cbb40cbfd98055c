"""The search's benchmark runs at a tiny size and gives its figures; no time is asserted."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks import search


def test_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CODES", 256)
    monkeypatch.setattr(search, "SIZES", ((8, 40),))
    monkeypatch.setattr(search, "ROUNDS", 1)
    threads = torch.get_num_threads()
    try:
        rows = search.run("any")
    finally:
        torch.set_num_threads(threads)
    assert len({row["name"] for row in rows}) == len(rows) == 3
    for row in rows:
        assert math.isfinite(row["value"]) and row["value"] >= 0
        assert row["unit"] in ("us / vector", "MB")


def test_the_forms_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CODES", 300)
    codes, vectors = search.trained_like(8, 50, search.CODES)
    found = [form(vectors) for form in search._forms(codes).values()]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
