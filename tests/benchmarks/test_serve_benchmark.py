"""The benchmark of serving measures what it says, and frees every place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import needs_world

from benchmarks import long_session, serve
from benchmarks.callers import Caller, Notes
from quintet.cli import main
from quintet.config import SAMPLE_RATE, STEP_SAMPLES, UserError

LOUD, SILENCE = np.full(STEP_SAMPLES, 0.5), np.zeros(STEP_SAMPLES)


class _Call:
    """A caller without a socket, on a clock that the test moves."""

    def __init__(self) -> None:
        self.notes = Notes()
        request = np.full(9_000, 0.3, np.float32)  # 375 ms
        self.caller = Caller("", [request], self.notes, seed=0)
        self.caller.rest, self.now = 1, 1_000.0

    def step(self, *sound: np.ndarray, skipped: int = 0) -> None:
        """The caller's microphone takes 250 ms, and then an answer comes."""
        self.caller._capture(self.now)
        self.now += 0.25 * (1 + skipped)
        speaking = bool(sound)
        event = {"type": "step", "milliseconds": 20.0, "speaking": speaking, "skipped": skipped}
        self.caller._stepped(event, self.now)
        for one in sound:
            self.caller._heard(one, self.now)


def test_first_audio_is_measured_from_the_end_of_speech_to_the_first_audible_sample() -> None:
    call = _Call()
    call.step()
    call.step()  # the caller has rested and begins to speak at 1,000.25
    asked = call.caller.asked
    assert asked == pytest.approx(1_000.25 + 0.375)
    call.step()
    call.step(SILENCE)  # sound that is not audible
    call.step(np.concatenate([np.zeros(2_400), LOUD[2_400:]]))
    assert call.notes.first_audio == [pytest.approx(1_001.25 + 0.1 - asked)]
    assert not call.notes.early and not call.notes.stops


def test_a_stop_is_measured_from_the_first_word_to_the_last_audible_sample() -> None:
    call = _Call()
    for _ in range(4):
        call.step()
    call.caller.random.random = lambda: 0.0  # type: ignore[method-assign]
    call.step(LOUD)
    assert call.caller.interrupts
    call.step(LOUD)
    barged = call.now
    call.step(LOUD)  # the caller speaks
    assert call.caller.barged == barged
    call.step(np.concatenate([LOUD[:1_200], np.zeros(4_800)]))
    call.step()
    assert call.notes.stops == [pytest.approx(0.5 + 1_200 / SAMPLE_RATE)]
    assert len(call.notes.first_audio) == 1 and call.caller.asked is not None


def test_lateness_counts_on_over_skipped_steps() -> None:
    call = _Call()
    call.now = 1_000.03
    call.step()
    call.step(skipped=3)
    call.now += 0.04
    call.step()
    assert [round(late) for _, _, late, _ in call.notes.steps] == [30, 30, 70]


def test_options_belong_to_one_benchmark() -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", "live", "--sessions", "3"])
    assert end.value.code == 2


def test_long_sessions(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_session, "DISTINCT", 2)
    monkeypatch.setattr(long_session, "MARKS", (0.02, 1))
    rows = long_session.run(str(model_folder), 2, 0.05)
    assert [row["name"] for row in rows[:3:2]] == ["0.0208333 min: p50 of a step",
                                                   "0.0208333 min: resident memory"]  # fmt: skip
    assert len(rows) == 7 and all(row["value"] > 0 for row in rows)


@needs_world
def test_a_real_server_is_called_cut_off_and_free_again(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "REQUESTS", 2)
    monkeypatch.setattr(serve, "CUT_EVERY", 1.0)
    rows = {row["name"]: row["value"] for row in serve.run(str(model_folder), 2, 0.05)}
    assert rows["places still taken after all were cut off"] == 0
    assert rows["calls cut off without a word"] >= 2
    assert rows["slowest step"] > 0


def test_a_server_that_does_not_start_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did not start"), serve.server(str(tmp_path), 1):
        pass
