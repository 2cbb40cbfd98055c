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
    assert values["requests answered"] <= values["requests"]


def test_without_a_browser_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "CHROMIUM", Path("/no/chromium"))
    with pytest.raises(UserError, match="no browser"):
        page.run()


def test_only_what_follows_a_request_answers_it() -> None:
    def answer(last_loud: float, early: bool) -> dict[str, float | bool]:
        return {"lastLoud": last_loud, "delay": 500.0, "early": early}

    ends, length = np.array([2.0, 12.0]), 20.0
    answers = [
        answer(1_000 + 2_600, False), answer(1_000 + 6_000, True), answer(1_000 + 23_200, True),
        answer(1_000 + 33_800, False),  # the microphone falls behind
        answer(1_000 + 42_900, False),  # not every one like it would have had its time
    ]  # fmt: skip
    seen = {"begun": 1_000.0, "over": 1_000 + 43_500.0, "answers": answers, "tooEarly": 5}
    counts = page._counts(seen, ends, length)
    assert [row["value"] for row in counts] == [4, 3, 1, 1, 5]
    seen["over"] += 2_000
    assert [row["value"] for row in page._counts(seen, ends, length)] == [5, 4, 1, 1, 5]


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
