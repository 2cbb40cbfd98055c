"""Scores against known values, and the scoring of sessions whose behaviour is known."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from quintet.config import STEP_SAMPLES
from quintet.data.world.scenes import Scene, make_scene
from quintet.evals.live_scores import mentions, run_scene
from quintet.evals.recognizer import word_errors
from quintet.evals.scores import mean, ratio, share, share_of
from quintet.live.session import StepOutput

needs_world = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)


def test_wilson_interval() -> None:
    """Values as Newcombe (1998) gives them for 81 of 263 and 0 of 20."""
    score = share_of(81, 263)
    assert (score.value, score.low, score.high) == pytest.approx((0.308, 0.2553, 0.3662), abs=2e-4)
    score = share([False] * 20)
    assert (score.low, score.high) == pytest.approx((0.0, 0.1611), abs=2e-4)
    assert share([]).value is None


def test_bootstrap_interval_holds_the_mean() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400).tolist()
    score = mean(values)
    assert score.low < score.value < score.high
    assert score.high - score.low == pytest.approx(4 / 20, rel=0.2)  # four standard errors
    assert ratio([(1, 4), (2, 4)]).value == 3 / 8


def test_word_errors() -> None:
    assert word_errors("This is a cat.", "this is a cat") == (0, 4)
    assert word_errors("this is a cat", "this is cat") == (1, 4)
    assert word_errors("this is a cat", "") == (4, 4)
    assert word_errors("one two", "two one two three") == (2, 2)


def test_a_name_is_a_whole_word() -> None:
    assert mentions("This is a cat.", "cat") and not mentions("a caterpillar", "cat")


class _Scripted:
    """A session that gives what `plan` says for each step: words, and whether it speaks."""

    def __init__(self, plan: dict[int, str], speaks: set[int]) -> None:
        self.plan, self.speaks, self.now = plan, speaks, 0

    def step(
        self, audio: np.ndarray, image: np.ndarray | None = None, text: str | None = None
    ) -> StepOutput:
        assert audio.shape == (STEP_SAMPLES,)
        self.now += 1
        speaking = self.now in self.speaks
        sound = np.full(STEP_SAMPLES, 0.1 * speaking, np.float32)
        words = self.plan.get(self.now, "")
        return StepOutput(
            self.now, sound, speaking, words, bool(words), None, False, {}, (1.0, 1.0), 0.0
        )


def _scenes(kind: str) -> list[Scene]:
    return [make_scene(seed, "test", (kind,)) for seed in range(6)]


@needs_world
def test_a_perfect_session_is_scored_perfect() -> None:
    for scene in _scenes("say"):
        plan = {reply.step: reply.text for reply in scene.replies}
        spoken = {
            step
            for reply in scene.replies
            for step in range(reply.step, reply.step - (-len(reply.speech) // STEP_SAMPLES))
        }
        result = run_scene(_Scripted(plan, spoken), scene)
        assert len(result.outcomes) == len(scene.replies) > 0
        assert all(o.is_exact and o.names_it for o in result.outcomes)
        assert result.false_output_steps == 0 < result.quiet_steps
        for outcome in result.outcomes:
            late = 0.0 if outcome.reply.typed else 0.5
            assert late - 0.25 <= (outcome.delay_seconds or 0.0) <= late + 0.01


@needs_world
def test_a_silent_session_answers_nothing_and_disturbs_nobody() -> None:
    for scene in _scenes("name"):
        result = run_scene(_Scripted({}, set()), scene)
        assert not any(o.is_exact or o.names_it for o in result.outcomes)
        assert all(o.delay_seconds is None for o in result.outcomes)
        assert result.false_output_steps == 0


@needs_world
def test_a_session_that_never_stops_is_caught() -> None:
    for scene in _scenes("chatter"):
        result = run_scene(_Scripted({}, set(range(1_000))), scene)
        assert result.false_speech_steps == result.quiet_steps > 0


@needs_world
def test_an_answer_belongs_to_its_own_request() -> None:
    scene = next(s for s in (make_scene(i, "test", ("say",)) for i in range(99))
                 if len(s.replies) > 1)  # fmt: skip
    swapped = dict(zip((r.step for r in scene.replies), (r.text for r in scene.replies[::-1]),
                       strict=True))  # fmt: skip
    result = run_scene(_Scripted(swapped, set()), scene)
    if scene.replies[0].text != scene.replies[-1].text:
        assert not result.outcomes[0].is_exact
