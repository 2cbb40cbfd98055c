"""The benchmark of the page runs and gives its figures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_world

import quintet.serve
from benchmarks import page
from benchmarks.cushion import PIECE
from quintet.config import SAMPLE_RATE, STEP_SAMPLES, UserError


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


def _answer(last_loud: float, early: bool, delay: float = 500.0) -> dict[str, float | bool]:
    return {"lastLoud": last_loud, "delay": delay, "early": early}


ENDS, LENGTH = np.array([2.0, 12.0]), 20.0


def _told(over: float, answers: list[dict[str, float | bool]]) -> list[float]:
    seen = {"begun": 1_000.0, "over": over, "answers": answers, "tooEarly": 5}
    rows = {row["name"]: row["value"] for row in page._answers(seen, ENDS, LENGTH)}
    return [rows.pop("end of speech to first audible sample, mean"), *list(rows.values())[2:]]


def test_only_what_follows_a_request_answers_it() -> None:
    answers = [
        _answer(1_000 + 2_600, False),
        _answer(1_000 + 6_000, True, 4_000.0),
        _answer(1_000 + 23_200, True),
        _answer(1_000 + 33_800, False),  # the microphone falls behind
        _answer(1_000 + 42_900, False, 900.0),  # not every one like it would have had its time
    ]
    assert _told(1_000 + 43_500.0, answers) == [500, 4, 3, 1, 1, 5]
    assert _told(1_000 + 45_500.0, answers) == [600, 5, 4, 1, 1, 5]


def test_a_microphone_that_begins_late_is_followed() -> None:
    answers = [_answer(1_000 + 4_200, False), _answer(1_000 + 14_300, False)]
    assert _told(1_000 + 20_000.0, answers) == [500, 2, 2, 0, 0, 5]


def _constant(script: str, name: str) -> float:
    code = (Path(quintet.serve.__file__).parent / "page" / script).read_text(encoding="utf-8")
    found = re.search(rf"const {name} = ([\d.]+);", code)
    assert found, f"{script} has no {name}"
    return float(found[1])


def _end_of_loud_pieces(sound: np.ndarray) -> int:
    """The sample behind the last piece that the page calls loud."""
    pieces = sound[: len(sound) // PIECE * PIECE].reshape(-1, PIECE)
    return PIECE * (int(np.flatnonzero(np.square(pieces).mean(1) > page.LOUD**2)[-1]) + 1)


@needs_world
def test_requests_end_with_a_piece_that_the_page_calls_loud() -> None:
    """Wherever pieces begin, else what follows is not heard as speech, and the time is too long."""
    assert _constant("voice.js", "LOUD") == page.LOUD
    assert _constant("microphone_worklet.js", "PIECE_SECONDS") * SAMPLE_RATE == PIECE
    sound, ends = page._requests()
    for end in ends:
        heard = sound[: end + STEP_SAMPLES]
        late = [begin + _end_of_loud_pieces(heard[begin:]) - end for begin in range(0, PIECE, 20)]
        assert min(late) > -PIECE and max(late) <= PIECE
        assert 0 < np.mean(late) < PIECE / 2  # by which the benchmark's times are too short


def test_what_a_browser_does_not_count_is_no_figure() -> None:
    assert page._glitches(float("nan")) == [] and page._glitches(2.0)[0]["value"] == 2


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
