"""The page writes down what the person said, as the model heard it, above the answer to it."""

# ruff: noqa: F401, F811 (pytest takes imported fixtures for arguments by their names)

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from browsing import browser, eventually, needs_chromium, page, server, until
from fake import FakeModel
from talker import TalkingModel

from quintet.live.turns import TurnReply

pytestmark = needs_chromium


@pytest.fixture
def model() -> FakeModel:
    return TalkingModel()


def speak(page: Any) -> None:
    """Talk for half a second."""
    count = page.locator(".bubble.person").count()
    page.click("#microphone")
    page.wait_for_selector(".bubble.spoken >> text=speaking")
    page.wait_for_timeout(500)
    page.click("#microphone")
    assert eventually(lambda: page.locator(".bubble.person").count() == count + 1, page)


def kinds(page: Any) -> list[str]:
    """Whose bubbles there are, from top to bottom."""
    return page.evaluate("[...document.querySelectorAll('.bubble')].map((it) => it.classList[1])")


def test_what_was_said_stands_above_its_answer_and_says_whose_hearing_it_is(
    page: Any, model: FakeModel
) -> None:
    speak(page)
    page.wait_for_selector(".bubble.model >> text=I heard")
    page.wait_for_selector(".bubble.person.heard >> text=you gave transcribe this.")
    bubble = page.locator(".bubble.person")
    assert bubble.locator("small").text_content() == "as Quintet heard it"
    assert bubble.locator(".for-readers").text_content() == "You said: "
    assert kinds(page) == ["person", "model"]
    seconds = float(bubble.text_content().split("transcribe this. ")[1].split(" s")[0])
    assert 0.5 < seconds < 3  # all of it, and not the silence before
    sound = model.chats[0][0]["content"][1]
    spectrum = np.abs(np.fft.rfft(sound))
    assert spectrum.argmax() / seconds == pytest.approx(440, rel=0.01)
    speak(page)
    assert eventually(lambda: page.locator(".bubble.heard").count() == 2, page)
    assert eventually(lambda: kinds(page) == ["person", "model"] * 2, page)
    assert page.problems == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [("", "Quintet made out no words"), (RuntimeError(), "not written down")],
)
def test_what_was_not_understood_is_told_so(
    page: Any, model: FakeModel, monkeypatch: pytest.MonkeyPatch, answer: Any, told: str
) -> None:
    def chat(*_: Any, **__: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return TurnReply(answer, [], np.zeros(0, np.float32))

    monkeypatch.setattr(model, "chat", chat)
    speak(page)
    page.wait_for_selector(f".bubble.spoken >> text={told}")
    assert "spoke for" in page.text_content(".bubble.spoken")
    assert page.problems == []


def test_who_does_not_want_it_has_nothing_written_down(page: Any, model: FakeModel) -> None:
    page.click("#settings-open")
    page.uncheck("#transcripts")
    page.click("#settings-close")
    speak(page)
    page.wait_for_selector(".bubble.model >> text=I heard")
    page.wait_for_timeout(300)
    assert model.chats == []
    assert page.locator(".bubble.heard").count() == 0


def test_words_of_an_old_conversation_come_into_no_new_one(
    page: Any, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def chat(*values: Any, **named: Any) -> Any:
        asked.set()
        go_on.wait(10)
        return FakeModel.chat(model, *values, **named)

    monkeypatch.setattr(model, "chat", chat)
    speak(page)
    assert eventually(asked.is_set, page)
    page.click("#reset")
    page.wait_for_selector("#welcome")
    go_on.set()
    page.wait_for_timeout(400)
    assert page.locator(".heard").count() == 0
    speak(page)
    page.wait_for_selector(".bubble.heard")
    assert page.problems == []


# A voice that was loud for so many milliseconds: what the conversation is told, what is asked for.
ENDED = """async (loud) => {
  const { Transcripts } = await import("/transcripts.js");
  const told = [], sent = [];
  const socket = { send: (event) => sent.push(event.type) };
  const conversation = { spoken: (seconds) => { told.push(seconds); return seconds || null; } };
  const transcripts = new Transcripts(socket, conversation);
  transcripts.voiceEnded({ began: 1000, lastLoud: 1000 + loud }, true);
  return [told, sent];
}"""


def test_what_is_shorter_than_a_word_is_no_turn(page: Any) -> None:
    assert page.evaluate(ENDED, 190) == [[0], []]
    assert page.evaluate(ENDED, 210) == [[0.21], ["transcribe"]]
