"""Scores against known values, and the scoring of sessions whose behaviour is known."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import needs_world

from quintet.config import STEP_SAMPLES
from quintet.data.world.scenes import Scene, make_scene
from quintet.evals.live_scores import names_only, run_scene
from quintet.evals.recognizer import word_errors
from quintet.evals.scores import mean, median, ratio, share, share_of
from quintet.live.session import StepOutput


def test_wilson_interval() -> None:
    """Values as Newcombe (1998) gives them for 81 of 263 and 0 of 20."""
    score = share_of(81, 263)
    assert (score.value, score.low, score.high) == pytest.approx((0.308, 0.2553, 0.3662), abs=2e-4)
    score = share([False] * 20)
    assert (score.low, score.high) == pytest.approx((0.0, 0.1611), abs=2e-4)
    assert share([]).value is None
    for n in range(1, 60):  # rounding must not put the value outside its interval
        assert share_of(n, n).high == 1 and share_of(0, n).low == 0


def test_bootstrap_interval_holds_the_mean() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400).tolist()
    score = mean(values)
    assert score.low < score.value < score.high
    assert score.high - score.low == pytest.approx(4 / 20, rel=0.2)  # four standard errors
    assert ratio([(1, 4), (2, 4)]).value == 3 / 8
    middle = median([1, 2, 2, 2, 9])
    assert middle.value == 2 and middle.low <= 2 <= middle.high and median([]).value is None


def test_cases_of_one_scene_count_as_one() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random(200) < 0.5).tolist()
    alone = share(right)
    scenes = list(range(200))
    spread = share(right, scenes=scenes)  # a scene a case: as if independent
    assert spread.high - spread.low == pytest.approx(alone.high - alone.low, rel=0.1)
    four_times = share(right * 4, 0.5, scenes * 4)  # the same again and again tells nothing new
    assert (four_times.value, four_times.n, four_times.chance) == (alone.value, 800, 0.5)
    assert (four_times.low, four_times.high) == pytest.approx((spread.low, spread.high), abs=0.01)
    assert share([], scenes=[]).value is None


@pytest.mark.parametrize("wrong", [0, 1, 4])
def test_a_share_near_its_end_keeps_wilsons_width(wrong: int) -> None:
    """All right, or nearly: a bootstrap would be too sure."""
    cases, scenes = [False] * wrong + [True] * (160 - wrong), [case // 2 for case in range(160)]
    if wrong == 4:
        scenes = [*range(4), *(case % 80 for case in range(156))]
    score, opposite = share(cases, scenes=scenes), share([not c for c in cases], scenes=scenes)
    width = 2 * 1.96 / (2 * 80**0.5) * 2 * (score.value * (1 - score.value)) ** 0.5
    assert score.n == 160 and score.high - score.low > max(width, 0.04)
    assert opposite.low == pytest.approx(1 - score.high)
    if not wrong:
        assert (score.low, score.high) == pytest.approx((80 / (80 + 1.96**2), 1), abs=1e-4)


def test_nothing_seen_is_not_nothing() -> None:
    """The rule of three, over scenes."""
    assert ratio([(0, 4)] * 80).high == 3 / 80
    score = ratio([(0, 4)] * 80, scenes=[case // 4 for case in range(80)])
    assert (score.value, score.low, score.high, score.n) == (0, 0, 3 / 20, 80)
    whole = ratio([(1, 4), (3, 4)] * 40, scenes=[case // 2 for case in range(80)])
    assert (whole.low, whole.value, whole.high) == (0.5, 0.5, 0.5)  # every scene is the same
    assert mean([1.0, 3.0] * 40).high > 2.1


def test_the_medians_interval_is_between_two_ranks() -> None:
    """Ranks as in tables of the sign test: 18 and 33 of 50, 1 and 6 of 6."""
    score = median([float(rank) for rank in range(50, 0, -1)])
    assert (score.value, score.low, score.high, score.n) == (25.5, 18, 33, 50)
    assert (median([1, 2, 3, 4, 5, 6]).low, median([1, 2, 3, 4, 5, 6]).high) == (1, 6)
    few = median([1.0, 9.0])
    assert (few.low, few.high) == (1, 9)
    # Four cases a scene, all alike: no narrower than one case a scene.
    values = [float(rank) for rank in range(1, 51) for _ in range(4)]
    score = median(values, [int(value) for value in values])
    assert (score.low, score.high, score.n) == (18, 33, 200)
    assert (median([2] * 50).low, median([2] * 50).high) == (2, 2)


def test_word_errors() -> None:
    assert word_errors("This is a cat.", "this is a cat") == (0, 4)
    assert word_errors("this is a cat", "this is cat") == (1, 4)
    assert word_errors("this is a cat", "") == (4, 4)
    assert word_errors("one two", "two one two three") == (2, 2)


def test_a_name_is_a_whole_word() -> None:
    assert names_only("This is a cat.", "cat") and not names_only("a caterpillar", "cat")
    assert not names_only("A cat, a dog.", "cat") and not names_only("A dog.", "cat")


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
            delay = outcome.delay_seconds or 0.0
            assert delay == 0 if outcome.reply.typed else 1 / 12 <= delay < 1 / 12 + 0.25


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
    """Of two answers in each other's place neither is right, in their own places both are."""
    scene = next(s for s in (make_scene(i, "test", ("say",)) for i in range(99))
                 if len({reply.text for reply in s.replies}) == len(s.replies) == 2)  # fmt: skip
    places, words = [r.step for r in scene.replies], [r.text for r in scene.replies]
    for order, right in ((words, True), (words[::-1], False)):
        result = run_scene(_Scripted(dict(zip(places, order, strict=True)), set()), scene)
        assert [o.text for o in result.outcomes] == order
        assert [o.is_exact for o in result.outcomes] == [right, right]


@needs_world
def test_scripted_steps_are_those_with_output() -> None:
    for scene in _scenes("say"):
        reply = [step for r in scene.replies
                 for step in range(r.step, r.step - (-len(r.speech) // STEP_SAMPLES))]  # fmt: skip
        assert run_scene(_Scripted({}, set()), scene).scripted_steps == len(reply) > 0
    assert run_scene(_Scripted({}, set()), make_scene(1, "test", ())).scripted_steps == 0
