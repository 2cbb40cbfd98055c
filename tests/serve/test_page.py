"""The page in a real browser, against the fake model."""

# ruff: noqa: F401, F811 (pytest takes imported fixtures for arguments by their names)

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from browsing import browser, eventually, model, needs_chromium, page, pixels_of, server, until
from fake import FakeModel
from PIL import Image
from running import RunningServer

from quintet.config import OmniConfig
from quintet.serve.keys import Keys
from quintet.serve.protocol import error_event, hello

pytestmark = needs_chromium


def test_a_person_types_and_gets_words_a_picture_and_speech(page: Any, model: FakeModel) -> None:
    assert pixels_of(page, "--text-in") == pixels_of(page, "--audio-out") == 0
    page.fill("#message", "draw a cat.")
    page.press("#message", "Enter")
    page.wait_for_selector(".bubble.model >> text=you wrote draw a cat.")
    until(page, "quintet.pictures === 1")
    assert page.input_value("#message") == ""
    assert model.texts() == ["draw a cat."]
    assert page.text_content("#announcement") == "you wrote draw a cat."
    picture = page.locator(".bubble.model.picture img")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 192
    until(page, "quintet.secondsPlayed > 0")
    assert page.evaluate("quintet.secondsPlayed") == pytest.approx(0.25)
    assert page.evaluate("quintet.samplesHeard") == 6_000
    assert page.evaluate("quintet.milliseconds") == 10
    for stream in ("text-in", "audio-in", "text-out", "image-out", "audio-out"):
        assert pixels_of(page, f"--{stream}") > 20, stream
    assert page.problems == []


def test_a_picture_file_is_shown_small(page: Any, model: FakeModel) -> None:
    file = io.BytesIO()
    Image.new("RGB", (1_000, 500), (200, 30, 30)).save(file, "PNG")
    page.set_input_files(
        "#file", {"name": "red.png", "mimeType": "image/png", "buffer": file.getvalue()}
    )
    page.wait_for_selector(".bubble.model >> text=I see it.")
    seen = next(image for _, image, _ in model.heard if image is not None)
    assert seen.shape == (192, 384, 3)
    assert np.abs(seen.mean((0, 1)) - (200, 30, 30)).max() < 4
    page.set_input_files(
        "#file", {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    until(page, "document.getElementById('notice-text').textContent.includes('cannot be read')")
    assert page.problems == []


def test_the_newest_answer_is_in_view(page: Any) -> None:
    for count in (1, 2, 3):
        page.fill("#message", "draw a cat.")
        page.press("#message", "Enter")
        until(page, f"quintet.pictures === {count}")
    page.wait_for_timeout(200)
    hidden = page.locator("#conversation").evaluate(
        "log => [log.scrollHeight - log.clientHeight, log.scrollTop]"
    )
    assert hidden[0] > 300
    assert hidden[1] == pytest.approx(hidden[0], abs=2)
    page.fill("#message", "hello.")
    left = page.evaluate(  # at once, before any answer scrolls
        """() => {
          document.getElementById("composer").requestSubmit();
          const log = document.getElementById("conversation");
          return log.scrollHeight - log.clientHeight - log.scrollTop;
        }"""
    )
    assert left == pytest.approx(0, abs=2)


def test_a_new_conversation_forgets_the_old_one(page: Any, model: FakeModel) -> None:
    page.click("#phrases button")
    page.wait_for_selector(".bubble.model >> text=you wrote hello.")
    page.click("#reset")
    page.wait_for_selector("#welcome")
    assert page.locator(".bubble").count() == 0
    until(page, "quintet.steps > 0 && quintet.steps < 6")
    assert page.problems == []


def test_a_second_person_learns_that_the_server_is_full(page: Any, server: RunningServer) -> None:
    other = page.context.new_page()
    other.goto(server.address)
    until(other, "quintet.state === 'full'")
    assert "taken" in other.text_content("#notice-text")
    assert other.is_disabled("#send")
    assert other.is_visible("#retry")
    page.close()
    other.wait_for_timeout(300)  # until the server has seen that the place is free
    other.click("#retry")
    until(other, "quintet.state === 'live'")
    assert other.is_hidden("#notice")


def test_a_server_that_goes_away_is_told(page: Any, server: RunningServer) -> None:
    page.click("#phrases button")
    page.wait_for_selector(".bubble.model")
    server.stop()
    until(page, "quintet.state === 'reconnecting'")
    assert "broke" in page.text_content("#notice-text")
    assert page.is_disabled("#send")
    assert "remembers nothing" in page.text_content(".divider")


def test_a_notice_goes_and_can_still_be_found(page: Any) -> None:
    assert page.get_attribute("#microphone", "title") == "Switch the microphone on"
    page.set_input_files(
        "#file", {"name": "no.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    )
    until(page, "!document.getElementById('notice').hidden")
    until(page, "document.getElementById('notice').hidden")
    assert "no picture" in page.text_content("#past-notice")


def test_the_status_tells_that_the_model_speaks(page: Any) -> None:
    assert page.text_content("#activity") == ""
    page.click("#phrases button")
    until(page, "document.getElementById('activity').textContent === 'Speaking'")
    until(page, "document.getElementById('activity').textContent === ''")
    assert page.text_content("#state-text") == "Live"


HELLO = hello(OmniConfig())
QUIET_STEP = {
    "type": "step", "step": 1, "text": "", "text_ended": False, "speaking": False,
    "counts": dict.fromkeys(HELLO["rows"], 0), "no_output": [1, 1], "milliseconds": 1,
    "input_level": 0, "skipped": 0,
}  # fmt: skip
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


@pytest.fixture
def scripted(browser: Any, server: RunningServer) -> Iterator[Any]:
    """Opens the page with a server that says what the test wants: a list for each connection."""
    context = browser.new_context()

    def open_page(*scripts: list[dict[str, Any] | int]) -> Any:
        waiting = list(scripts)

        def answer(route: Any) -> None:
            for frame in waiting.pop(0) if waiting else []:
                if isinstance(frame, int):
                    route.close(code=frame)
                else:
                    route.send(json.dumps(frame))

        page = context.new_page()
        page.route_web_socket("**/live", answer)
        page.goto(server.address)
        return page

    yield open_page
    context.close()


def test_a_new_connection_begins_clean(scripted: Any) -> None:
    """What was said last is shown with what was before, though its sound never comes."""
    half = {**QUIET_STEP, "step": 7, "speaking": True, "text": "farewell"}
    drawn = {"type": "image", "step": 2, "data": PIXEL, "done": True}
    page = scripted([HELLO, half, drawn, 1001], [HELLO, QUIET_STEP])
    until(page, "window.quintet?.state === 'live' && quintet.steps === 1")
    page.wait_for_timeout(200)
    assert page.evaluate("quintet.pictures") == 0
    assert page.evaluate("quintet.text") == "farewell"
    assert page.locator(".bubble.words").count() == 1
    assert page.locator(".bubble.words:has-text('farewell') ~ .divider").count() == 1


@pytest.mark.parametrize(
    ("script", "state", "sentence"),
    [
        ([HELLO, QUIET_STEP, 1013], "reconnecting", "too slow"),
        ([error_event("All places are taken."), 1013], "full", "taken"),
        ([HELLO, QUIET_STEP, 1011], "reconnecting", "broke"),
        ([HELLO, error_event("The model failed."), 1011], "error", "ended"),
    ],
)
def test_a_close_is_called_by_its_name(
    scripted: Any, script: list[dict[str, Any] | int], state: str, sentence: str
) -> None:
    page = scripted(script)
    until(page, f"window.quintet?.state === '{state}' && quintet.detail !== ''")
    assert sentence in page.evaluate("quintet.detail")


def test_a_key_in_the_address_opens_a_server_that_wants_one(browser: Any) -> None:
    key = "a-key-of-sixteen-and-more"
    server = RunningServer(FakeModel(), keys=Keys([key]))
    context = browser.new_context()
    try:
        page = context.new_page()
        told = "document.body.innerText.includes('%s')"
        page.goto(server.address)
        until(page, "quintet.state === 'error'")
        until(page, told % "This server asks for a key. Write #key=")
        for wrong in ("another-key-of-sixteen", "%25", "%"):  # the last is no key at all
            page.goto(f"{server.address}#key={wrong}")
            page.reload()
            until(page, told % "This server does not know the key.")
        page.goto(f"{server.address}#key={key}")
        page.reload()
        until(page, "quintet.state === 'live'")
    finally:
        context.close()
        server.stop()
