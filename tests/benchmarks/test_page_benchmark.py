"""The benchmark of the page runs and gives its figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import needs_world

from benchmarks import page
from quintet.config import STEP_SAMPLES, UserError


@needs_world
@pytest.mark.skipif(not page.CHROMIUM.exists(), reason="There is no Chromium.")
def test_the_page_is_watched(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    monkeypatch.setattr(page, "MINUTES", 0.05)
    values = {row["name"]: row["value"] for row in page.run(str(model_folder))}
    assert values["minutes"] == 0.05
    assert values["median of a step"] > 0
    assert values["underruns"] >= 0


def test_without_a_browser_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "CHROMIUM", Path("/no/chromium"))
    with pytest.raises(UserError, match="no browser"):
        page.run()


@needs_world
def test_requests_end_at_all_places_of_the_clock() -> None:
    sound, ends = page._requests()
    assert len(ends) == len(page.REQUESTS)
    for end in ends:  # loud up to there, then quiet for longer than a step
        assert abs(sound[end - 1]) > page.LOUD >= np.abs(sound[end : end + 2 * STEP_SAMPLES]).max()
    places = [
        (end + turn * len(sound)) % STEP_SAMPLES for turn in range(page.ROUNDS) for end in ends
    ]
    gaps = np.diff([*sorted(places), min(places) + STEP_SAMPLES])
    assert gaps.max() <= STEP_SAMPLES // len(places) + 1
