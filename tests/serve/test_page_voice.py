"""The voice that a person chooses on the page: told, kept, and plain about what it costs."""

# ruff: noqa: F401, F811 (pytest takes imported fixtures for arguments by their names)

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from browsing import browser, eventually, needs_chromium, page, server, until
from fake import FakeModel
from running import RunningServer
from test_page_settings import KEPT

pytestmark = needs_chromium

LINDA = [[1, 2, 3]]
NAMES = "[...document.getElementById('voice-choice').options].map((one) => one.text)"


@pytest.fixture
def model() -> FakeModel:
    model = FakeModel()
    model.voices = {"linda": np.array(LINDA, np.int32), "<b>otto": np.array([[4, 5, 6]], np.int32)}
    return model


def _write(page: Any, text: str) -> None:
    page.fill("#message", text)
    page.press("#message", "Enter")
    page.wait_for_selector(f".bubble.words:has-text('you wrote {text}')")


def test_choosing_a_voice_begins_a_new_conversation_in_it(page: Any, model: FakeModel) -> None:
    assert page.evaluate(NAMES) == ["Quintet's own", "linda", "<b>otto"]
    _write(page, "hello")
    sessions = model.num_sessions
    page.click("#settings-open")
    hint = page.text_content("#voice-choice-hint")
    assert "begins a new conversation" in hint
    assert page.get_attribute("#voice-choice", "aria-describedby") == "voice-choice-hint"
    page.focus("#voice-choice")
    page.keyboard.type("li")  # as a keyboard chooses
    assert page.input_value("#voice-choice") == "linda"
    assert eventually(lambda: model.speakers[-1] == LINDA, page)
    assert page.text_content("#voice-choice-hint") == "A new conversation has begun, in this voice."
    until(page, "!document.querySelector('.bubble')")
    page.click("#settings-close")
    assert page.is_visible("#welcome")
    _write(page, "again")
    page.click("#reset")  # the voice stays
    until(page, "!document.querySelector('.bubble')")
    assert eventually(lambda: model.num_sessions == sessions + 2, page)
    assert model.speakers[-1] == LINDA
    assert json.loads(page.evaluate(KEPT)) == {"voice": "linda"}
    page.click("#settings-open")
    assert page.text_content("#voice-choice-hint") == hint
    page.click("#settings-reset")
    assert eventually(lambda: model.speakers[-1] is None, page)
    assert page.input_value("#voice-choice") == "" and page.evaluate(KEPT) is None
    assert page.problems == []


def test_the_voice_outlasts_the_page_and_the_connection(page: Any, model: FakeModel) -> None:
    page.click("#settings-open")
    page.select_option("#voice-choice", "linda")
    assert eventually(lambda: model.speakers[-1] == LINDA, page)
    page.reload()
    until(page, "window.quintet?.state === 'live'")
    assert eventually(lambda: model.speakers[-2:] == [None, LINDA], page)
    _write(page, "hello")
    model.speakers.clear()
    page.fill("#message", "crash")
    page.press("#message", "Enter")
    until(page, "quintet.state !== 'live'")
    page.click("#retry")
    until(page, "quintet.state === 'live'")
    assert eventually(lambda: model.speakers == [None, LINDA], page)
    assert page.is_visible(".bubble:has-text('you wrote hello')")  # what was said stays
    assert page.locator(".divider").count() == 1
    _write(page, "more")
    page.click("#reset")
    until(page, "!document.querySelector('.bubble')")


def test_with_one_voice_there_is_nothing_to_choose(
    page: Any, model: FakeModel, server: RunningServer
) -> None:
    page.click("#settings-open")
    assert page.is_visible("#voice-choice")
    page.select_option("#voice-choice", "linda")
    assert eventually(lambda: model.speakers[-1] == LINDA, page)
    model.voices = {}
    model.speakers.clear()
    page.reload()
    until(page, "window.quintet?.state === 'live' && quintet.steps > 2")
    page.click("#settings-open")
    assert page.is_hidden("#voice-choice") and page.is_hidden("#voice-choice-hint")
    assert model.speakers == [None]  # a voice that this server has not is not asked for
    page.click("#settings-reset")
    page.click("#settings-close")
    _write(page, "hello")
    assert model.speakers == [None]
    assert page.problems == []
