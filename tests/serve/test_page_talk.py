"""The page when somebody talks: push-to-talk, interruption, and the timeline that explains it."""

# ruff: noqa: F401, F811 (pytest takes imported fixtures for arguments by their names)

from __future__ import annotations

from typing import Any

import pytest
import talker
from browsing import browser, eventually, needs_chromium, page, pixels_of, server, until
from fake import FakeModel
from running import RunningServer
from talker import TalkingModel

pytestmark = needs_chromium


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    monkeypatch.setattr(talker, "ANSWER_STEPS", 60)  # longer than a slow machine needs to interrupt
    return TalkingModel()


def pressed(page: Any, on: bool) -> None:
    until(page, f"document.getElementById('microphone').ariaPressed === '{str(on).lower()}'")


def ask(page: Any) -> None:
    """Say something, which the model answers at length."""
    before = page.evaluate("quintet.samplesHeard")
    page.click("#microphone")
    page.wait_for_selector(".bubble.spoken >> text=speaking")
    page.wait_for_timeout(400)  # shorter sounds are nobody's speech
    page.click("#microphone")
    until(page, f"quintet.samplesHeard > {before}")


def test_talking_over_the_speech_stops_it(page: Any) -> None:
    ask(page)
    page.wait_for_selector(".bubble.person.heard")
    until(page, "quintet.secondsPlayed > 0.2")
    page.click("#microphone")
    until(page, "quintet.stops.length === 1")
    page.wait_for_selector(".bubble.words.interrupted")
    assert eventually(lambda: pixels_of(page, "--warning") > 20, page)  # marked in the timeline
    until(page, "document.getElementById('explanation').textContent.includes('is not played')")
    played = page.evaluate("quintet.secondsPlayed")
    page.wait_for_timeout(400)
    assert page.evaluate("quintet.secondsPlayed") == played
    assert page.evaluate("quintet.answers.length") == 1
    assert page.problems == []


# The voice is over, as far as the page can tell, as soon as the model's speech has come.
FALL_SILENT = """async () => {
  const { Voice } = await import("/voice.js");
  const { Speech } = await import("/speech.js");
  const { take } = Voice.prototype, { hear } = Speech.prototype;
  let silent = false;
  Voice.prototype.take = function (level, now) {
    return take.call(this, silent ? 0 : level, now);
  };
  Speech.prototype.hear = function (bytes) {
    silent = true;
    hear.call(this, bytes);
  };
}"""


def test_an_answer_that_comes_before_the_voice_is_known_to_be_over_counts(page: Any) -> None:
    page.evaluate(FALL_SILENT)
    page.click("#microphone")
    page.wait_for_selector(".bubble.spoken >> text=speaking")
    page.wait_for_timeout(400)  # shorter sounds are nobody's speech
    page.fill("#message", "hello")
    page.press("#message", "Enter")  # is answered at once
    until(page, "quintet.answers.length === 1")
    (answer,) = page.evaluate("quintet.answers")
    assert answer["early"] and answer["delay"] > 0
    until(page, "document.getElementById('figures').textContent.includes(' · answered in ')")
    assert "NaN" not in page.text_content("#figures")
    assert page.evaluate("quintet.tooEarly") == 0 and page.problems == []


def test_escape_stops_the_speech_and_the_next_answer_is_heard(page: Any) -> None:
    ask(page)
    until(page, "quintet.secondsPlayed > 0.2")
    page.keyboard.press("Escape")
    until(page, "quintet.stops.length === 1")
    played = page.evaluate("quintet.secondsPlayed")
    page.fill("#message", "hello")
    page.press("#message", "Enter")
    until(page, f"quintet.secondsPlayed > {played}")


def test_push_to_talk_hears_while_the_space_key_or_the_button_is_held(
    page: Any, model: FakeModel
) -> None:
    page.click("#settings-open")
    page.check("#push-to-talk")
    page.click("#settings-close")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.down(" ")
    pressed(page, True)
    assert eventually(lambda: len(model.sounds()) > 1, page)
    page.keyboard.up(" ")
    pressed(page, False)
    page.wait_for_timeout(500)  # what is on its way arrives
    heard = len(model.sounds())
    page.wait_for_timeout(500)
    assert len(model.sounds()) == heard
    page.hover("#microphone")
    page.mouse.down()
    pressed(page, True)
    page.mouse.up()
    pressed(page, False)
    page.focus("#microphone")
    page.keyboard.down("Enter")
    pressed(page, True)
    page.keyboard.up("Enter")
    pressed(page, False)
    for on in (True, False):  # as a screen reader clicks
        page.evaluate("document.getElementById('microphone').click()")
        pressed(page, on)
    page.focus("#message")
    page.keyboard.press("Space")  # is typed
    pressed(page, False)
    assert page.input_value("#message") == " "
    assert page.problems == []


def test_the_timeline_explains_silence_step_by_step(page: Any) -> None:
    until(page, "quintet.steps > 4")
    until(page, "document.getElementById('explanation').textContent.includes('nothing is asked')")
    assert page.text_content("#silence") == "words 98 %, speech 99 %"
    assert pixels_of(page, "--silence") > 500
    page.fill("#message", "hello")
    page.press("#message", "Enter")
    until(page, "document.getElementById('explanation').textContent.includes('has answered')")
    page.focus("#streams")
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(20)
        told = page.get_attribute("#streams", "aria-valuetext")
        if "It writes and speaks" in told:
            break
    assert told.startswith("At ") and told.endswith("No Output: words 2 %, speech 1 %")
    page.keyboard.press("End")
    until(page, "document.getElementById('streams').ariaValueText.startsWith('The newest')")


LOOKED_AT = """async () => {
  const { Timeline } = await import("/timeline.js");
  const made = (tag) => document.body.appendChild(document.createElement(tag));
  const timeline = new Timeline(made("canvas"), made("p"), made("p"));
  timeline.clock = { steps_per_second: 4, rows: {} };
  const step = (step) => ({ step, counts: {}, no_output: [1, 1], input_level: 0, text: "" });
  timeline.add(step(1));
  timeline.look(timeline.steps[0]);
  for (let i = 2; timeline.steps[0].step === 1; i++) timeline.add(step(i));
  timeline.draw();
  return timeline.sentence.textContent;
}"""


def test_a_step_that_is_looked_at_may_be_forgotten(page: Any) -> None:
    assert page.evaluate(LOOKED_AT) == "Silent: nothing is asked, and the microphone is off."


def test_the_page_goes_on_by_itself_when_the_server_is_there_again(
    page: Any, server: RunningServer
) -> None:
    page.fill("#message", "hello")
    page.press("#message", "Enter")
    page.wait_for_selector(".bubble.words >> text=you wrote hello")
    page.fill("#message", "half a sen")
    port = int(server.address.rsplit(":", 1)[1].strip("/"))
    server.stop()
    until(page, "quintet.state === 'reconnecting'")
    assert page.is_visible("#retry")
    again = RunningServer(FakeModel(), port=port)
    try:
        until(page, "quintet.state === 'live'")
        assert page.input_value("#message") == "half a sen"
        page.fill("#message", "here again")
        page.press("#message", "Enter")
        page.wait_for_selector(".bubble.words >> text=you wrote here again")
        kinds = page.evaluate(
            "[...document.querySelectorAll('#conversation > *')].map((it) => it.className)"
        )
        assert [kind.replace(" speaking", "").split()[-1] for kind in kinds] == [
            "person", "words", "divider", "person", "words",
        ]  # fmt: skip
    finally:
        again.stop()
