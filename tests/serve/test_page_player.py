"""How long the page lets an utterance wait, so that late steps leave no gap in it."""

# ruff: noqa: F401, F811 (pytest takes imported fixtures for arguments by their names)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from browsing import browser, needs_chromium, page, server, until
from fake import FakeModel
from talker import TalkingModel

from benchmarks.cushion import BETWEEN, STEP, Utterance, listen, utterances

pytestmark = needs_chromium


@pytest.fixture
def model() -> FakeModel:
    return TalkingModel()


# Plays utterances of late steps on clocks of its own, which stand still for a while (`behind`).
PLAY = """async (utterances) => {
  const { Player } = await import("/player.js");
  const player = new Player(24_000);
  await player.context.close();
  player.context = { currentTime: 0 };
  const cushions = [], afterGaps = [];
  let due = 1000;
  for (const { quiet, steps } of utterances) {
    player.arrivals.step(quiet);
    due += quiet;
    steps.forEach(([late, behind], i) => {
      player.arrivals.step(250);
      due += 250;
      player.arrivals.sound(i > 0, due + late);
      player.context.currentTime = (due + late - behind) / 1000;
      const gaps = player.underruns;
      player.ends = player.begin(i > 0) + 0.25;
      if (i === 0) cushions.push(player.cushion);
      else if (player.underruns > gaps) afterGaps.push(player.cushion);
    });
  }
  return [cushions, afterGaps];
}"""


def waits(page: Any, spoken: list[Utterance]) -> tuple[np.ndarray, list[float]]:
    """Seconds that each utterance of (late, behind) milliseconds waited, and each piece after a
    gap."""
    told = [{"quiet": BETWEEN - STEP * len(steps), "steps": steps} for steps in spoken]
    cushions, after_gaps = page.evaluate(PLAY, told)
    return np.array(cushions), after_gaps


def play(page: Any, spoken: list[Utterance]) -> tuple[np.ndarray, int]:
    """Seconds that each utterance waited, and how many gaps there were."""
    cushions, after_gaps = waits(page, spoken)
    return cushions, len(after_gaps)


def steps(*late: float) -> Utterance:
    return [(one, 0.0) for one in late]


def test_an_utterance_waits_as_long_as_later_steps_have_been_late(page: Any) -> None:
    early = steps(60, 20, 20)
    cushions, gaps = play(page, [early] * 200)
    assert cushions[0] == pytest.approx(0.0595) and gaps == 0  # nothing is known
    changes = np.diff(cushions)  # learned slowly, until it is known that the first comes late
    assert changes[5] == pytest.approx(-0.032) and (np.delete(changes, 5) > -0.00051).all()
    assert cushions[-1] == pytest.approx(0.025)  # the first comes later than those that follow
    cushions, gaps = play(page, [steps(60, 100, 20), *[early] * 200])
    assert cushions[65] == pytest.approx(0.065) and gaps == 0  # nine minutes later
    assert cushions[-1] == pytest.approx(0.025)
    hiccup = steps(60, 900, 20)
    cushions, gaps = play(page, [*[early] * 100, hiccup, *[early] * 5])
    assert gaps == 1 and cushions[-1] < 0.06


def test_the_sound_card_has_its_smallest_buffer(page: Any) -> None:
    glitches, player, least, most = page.evaluate("""async () => {
      const { Player } = await import("/player.js");
      const contexts = [0, "playback"].map(
        (latencyHint) => new AudioContext({ sampleRate: 24_000, latencyHint }),
      );
      const player = new Player(24_000);
      const latencies = [player.context, ...contexts].map((context) => context.baseLatency);
      await Promise.all([player.context, ...contexts].map((context) => context.close()));
      return [player.glitches, ...latencies];
    }""")
    assert player == least and player < most / 2
    assert not np.isnan(glitches)  # Chromium counts them


def test_glitches_are_what_the_browser_counts(page: Any) -> None:
    counted, unknown = page.evaluate("""async () => {
      const { Player } = await import("/player.js");
      const player = new Player(24_000);
      await player.context.close();
      return [{ playbackStats: { underrunEvents: 3 } }, {}].map((context) => {
        player.context = context;
        return player.glitches;
      });
    }""")
    assert counted == 3 and np.isnan(unknown)


def test_a_gap_makes_the_next_ones_wait_longer_for_long(page: Any) -> None:
    early, gap = steps(60, 20, 20), [(60.0, 0.0), (20.0, -100.0)]  # late on the sound's clock alone
    cushions, gaps = play(page, [*[early] * 150, gap, *[early] * 80])
    assert gaps == 1
    assert cushions[150] == pytest.approx(0.025)
    assert cushions[151] == pytest.approx(0.0445)  # beside the 40 ms that the first comes late
    assert (cushions[151:180] > 0.029).all()
    assert cushions[-1] == pytest.approx(0.025)
    gap[1] = (20.0, -600.0)
    assert play(page, [gap] * 100)[0].max() == pytest.approx(0.2495)


def test_only_a_first_piece_that_is_late_itself_waits_less(page: Any) -> None:
    cushions, gaps = play(page, [steps(20, 20, 20)] * 20)
    assert (cushions > 0.049).all() and gaps == 0
    cushions, gaps = play(page, [*[steps(20, 20, 20)] * 20, steps(50, 20), steps(20, 20)])
    assert cushions[-2:] == pytest.approx([0.025, 0.049]) and gaps == 0


def test_a_late_first_piece_waits_less_by_what_it_is_later_than_those_that_follow_usually_are(
    page: Any,
) -> None:
    spread = [steps(45, 10, 20, 20, 40)] * 20  # the median of those that follow: 20
    cushions, gaps = play(page, spread)
    floors = 0.0595 - 0.0005 * np.arange(20)
    assert cushions[3:] == pytest.approx(floors[3:] - 0.025) and gaps == 0


def test_a_piece_after_a_gap_waits_as_long_as_if_it_had_not_been_late(page: Any) -> None:
    gap = [(20.0, 0.0), (60.0, -100.0)]  # 40 later than usual, and later still on the sound's clock
    cushions, after_gaps = waits(page, [*[steps(20, 20, 20)] * 20, gap])
    assert after_gaps == pytest.approx([cushions[-1] + 0.02])


def test_no_step_is_taken_for_early_because_others_were_late(page: Any) -> None:
    calm = [steps(20, 20, 20)] * 20
    cushions, gaps = play(page, [*calm, steps(20, 320, 380), *calm[:9]])
    assert gaps == 1 and cushions[-9:].max() < 0.13  # 20 ms beyond the one before
    cushions, gaps = play(page, [*calm, *[steps(320, 360, 320)] * 50])  # another network
    assert gaps <= 1 and cushions[-1] > 0.04


def test_hours_of_uneven_steps_leave_no_gap_for_this_listener(page: Any) -> None:
    """Steps as late as nano's, one in sixty of them as late as the latest of a session: of all
    listeners there are 0.38 gaps an hour."""
    cushions, gaps = play(page, utterances(0, often=1 / 60, most=90))
    assert gaps == 0
    assert cushions.mean() < 0.07


def test_the_simulated_cushion_is_the_pages(page: Any) -> None:
    uneven = utterances(1, often=0.05, most=400)  # gaps, and steps too late for any cushion
    (simulated, simulated_gaps), (cushions, gaps) = listen(uneven), waits(page, uneven)
    assert len(gaps) > 20
    assert cushions == pytest.approx(simulated / 1_000)
    assert gaps == pytest.approx(np.array(simulated_gaps) / 1_000)


# Speech that begins so many milliseconds after a voice was last loud, which goes on or has ended.
ANSWER = """async ({ after, speaking, goesOn }) => {
  const { Speech } = await import("/speech.js");
  const voice = { speaking, lastLoud: 1000 };
  const player = { sampleRate: 24_000, play: () => 1000 + after };
  const speech = new Speech(player, voice);
  speech.hear(new Int16Array(6_000).fill(9_000).buffer);
  const before = speech.answers.length;
  if (goesOn) voice.lastLoud = 1100;
  voice.speaking = false;
  speech.voiceEnded();
  speech.voiceEnded();
  return [before, speech.answers, speech.tooEarly];
}"""


@pytest.mark.parametrize(
    ("speaking", "goes_on", "before", "early", "too_early"),
    [(False, False, 1, [False], 0), (True, False, 0, [True], 0), (True, True, 0, [], 1)],
)
def test_an_answer_counts_however_soon_it_comes(
    page: Any, speaking: bool, goes_on: bool, before: int, early: list[bool], too_early: int
) -> None:
    """That a voice has ended is known a third of a second later; and it may not have."""
    told = {"after": 280, "speaking": speaking, "goesOn": goes_on}
    answers = [{"lastLoud": 1_000, "delay": 280, "early": one} for one in early]
    assert page.evaluate(ANSWER, told) == [before, answers, too_early]


LISTEN = """async () => {
  const { Arrivals } = await import("/arrivals.js");
  const { step, sound } = Arrivals.prototype;
  window.told = [];
  Arrivals.prototype.step = function (milliseconds) {
    told.push(milliseconds);
    step.call(this, milliseconds);
  };
  Arrivals.prototype.sound = function (goesOn) {
    told.push(goesOn);
    sound.call(this, goesOn);
  };
}"""


def test_the_page_notes_every_step_and_its_sound(page: Any) -> None:
    page.evaluate(LISTEN)
    page.click("#microphone")
    page.wait_for_selector(".bubble.spoken >> text=speaking")
    page.wait_for_timeout(400)
    page.click("#microphone")
    until(page, "told.filter((it) => it === true).length > 1")
    told = page.evaluate("told")
    steps = [one for one in told if not isinstance(one, bool)]
    assert all(one >= STEP and one % STEP == 0 for one in steps)
    first = told.index(False)
    assert told[first + 2] is True and not isinstance(told[first + 1], bool)
