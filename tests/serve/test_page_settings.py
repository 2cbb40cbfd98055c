"""The page's settings: kept, told to the server, and what they change."""

# ruff: noqa: F401, F811 (pytest takes imported fixtures for arguments by their names)

from __future__ import annotations

import json
from typing import Any

from browsing import browser, eventually, model, needs_chromium, page, server, until
from fake import FakeModel

from quintet.live.sampling import Sampling

pytestmark = needs_chromium

KEPT = "localStorage.getItem('quintet.settings')"


def test_temperatures_are_told_kept_and_reset(page: Any, model: FakeModel) -> None:
    page.click("#settings-open")
    assert page.text_content("#audio-temperature-value") == "0.3 (usual)"
    page.focus("#text-temperature")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.text_content("#text-temperature-value") == "0.5"
    wanted = Sampling(text_temperature=0.5)
    assert eventually(lambda: bool(model.sampled) and model.sampled[-1] == wanted, page)
    model.sampled.clear()
    page.reload()
    until(page, "window.quintet?.state === 'live'")
    assert eventually(lambda: model.sampled == [wanted], page)
    page.click("#settings-open")
    page.click("#settings-reset")
    assert page.text_content("#text-temperature-value") == "0 (usual)"
    assert eventually(lambda: model.sampled[-1] == Sampling(), page)
    assert page.evaluate(KEPT) is None
    page.keyboard.press("Escape")
    assert page.is_hidden("#settings")
    assert page.evaluate("document.activeElement.id") == "settings-open"
    assert page.problems == []


READ = """async (kept) => {
  const { Settings, DEFAULTS } = await import("/settings.js");
  const settings = new Settings(() => {}, { getItem: () => kept });
  return [settings.values, { ...DEFAULTS }, settings.sampling];
}"""


def test_settings_that_make_no_sense_are_passed_over(page: Any) -> None:
    nonsense = {"textTemperature": 9, "captions": "no", "camera": 3, "voice": 1, "pushToTalk": True}
    read, usual, _ = page.evaluate(READ, json.dumps(nonsense))
    assert read == usual | {"pushToTalk": True}
    for kept in ("{", "null", "[]", "3", ""):
        assert page.evaluate(READ, kept)[0] == usual, kept
    _, _, sampling = page.evaluate(READ, json.dumps({"imageTemperature": 0}))
    assert sampling == {"type": "sampling", "image_temperature": 0}


def test_without_captions_words_are_neither_shown_nor_read_aloud(page: Any) -> None:
    page.click("#settings-open")
    page.uncheck("#captions")
    page.click("#settings-close")
    page.fill("#message", "draw a cat.")
    page.press("#message", "Enter")
    until(page, "quintet.pictures === 1")
    assert page.is_hidden(".bubble.words > div")
    assert page.is_visible(".bubble.words")  # that there was an answer
    assert page.text_content("#announcement") == ""
    page.click("#settings-open")
    page.check("#captions")
    assert page.is_visible(".bubble.words > div")


WATCH_WANTED = """() => {
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  window.wanted = [];
  devices.getUserMedia = (wanted) => { window.wanted.push(wanted); return ask(wanted); };
}"""


def test_another_microphone_and_camera_can_be_chosen(page: Any) -> None:
    page.evaluate(WATCH_WANTED)
    for kind, medium in (("microphone", "audio"), ("camera", "video")):
        page.click(f"#{kind}")
        until(page, f"document.getElementById('{kind}').ariaPressed === 'true'")
        page.click("#settings-open")
        until(page, f"document.getElementById('{kind}-choice').options.length > 1")
        assert page.is_hidden(f"#{kind}-choice-hint")
        device = page.evaluate(f"document.getElementById('{kind}-choice').options[1].value")
        page.evaluate("wanted.length = 0")
        page.select_option(f"#{kind}-choice", device)
        until(page, "wanted.length === 1")  # it is on, so it changes at once
        assert page.evaluate(f"wanted[0].{medium}.deviceId") == {"ideal": device}
        until(page, f"document.getElementById('{kind}').ariaPressed === 'true'")
        page.click("#settings-close")
    assert set(json.loads(page.evaluate(KEPT))) == {"microphone", "camera"}


SHARED_SCREEN = """() => {
  const canvas = document.createElement("canvas");
  canvas.width = 64;
  canvas.height = 32;
  setInterval(() => canvas.getContext("2d").fillRect(0, 0, 64, 32), 100);
  navigator.mediaDevices.getDisplayMedia = async () => (window.shared = canvas.captureStream(5));
}"""


def test_the_screen_is_shared_instead_of_the_camera(page: Any, model: FakeModel) -> None:
    page.evaluate(SHARED_SCREEN)
    page.click("#camera")
    until(page, "document.getElementById('camera').ariaPressed === 'true'")
    page.click("#screen")
    until(page, "document.getElementById('screen').ariaPressed === 'true'")
    assert page.get_attribute("#camera", "aria-pressed") == "false"
    seen = lambda: [image.shape for _, image, _ in model.heard if image is not None]  # noqa: E731
    assert eventually(lambda: (32, 64, 3) in seen(), page)
    page.evaluate("shared.getTracks()[0].onended()")  # as when the browser's own button stops it
    assert "screen went away" in page.text_content("#notice-text")
    assert page.is_hidden("#viewfinder")
