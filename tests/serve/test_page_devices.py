"""The page's microphone and camera, and what becomes of their sound, in a real browser."""

# ruff: noqa: F401, F811 (pytest takes imported fixtures for arguments by their names)

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from browsing import TONE, browser, eventually, model, needs_chromium, page, server, until
from fake import PIECE, FakeModel
from running import RunningServer

from quintet.config import SAMPLE_RATE

pytestmark = needs_chromium


def test_it_sends_silence_until_the_microphone_is_on(page: Any, model: FakeModel) -> None:
    until(page, "quintet.samplesSent > 6000")
    assert model.sounds() == []
    page.click("#microphone")
    until(page, "document.getElementById('microphone').getAttribute('aria-pressed') === 'true'")
    assert eventually(lambda: len(model.sounds()) >= 6, page)
    heard = np.concatenate(model.sounds()[2:6])
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    peak = spectrum.argmax() * SAMPLE_RATE / len(heard)
    assert peak == pytest.approx(TONE, abs=3)  # a wrong sample rate would shift it
    page.click("#microphone")
    until(page, "document.getElementById('microphone').getAttribute('aria-pressed') === 'false'")
    assert page.problems == []


FRAMES = """() => {
  window.sizes = [];
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    if (data instanceof ArrayBuffer) sizes.push(data.byteLength);
    return send.call(this, data);
  };
}"""


def test_sound_is_sent_in_pieces_that_answers_need_not_wait_for(page: Any) -> None:
    page.evaluate(FRAMES)
    page.click("#microphone")
    pressed(page, "microphone", True)
    until(page, f"sizes.filter((size) => size === {2 * PIECE}).length > 20")
    page.evaluate("sizes.length = 0")
    until(page, "sizes.length > 20")
    assert page.evaluate("[...new Set(sizes)]") == [2 * PIECE]


HEARD = """async (levels) => {
  const { Voice } = await import("/voice.js");
  const voice = new Voice();
  return levels.map((level, piece) => voice.take(level, piece));
}"""


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ([0.2] * 4 + [0.0] * 20, {}),  # a click
        ([0.2] * 9, {4: "began"}),
        ([0.2] * 3 + [0.0] + [0.2] * 5, {8: "began"}),
        ([0.2] * 5 + [0.0] * 15 + [0.2], {4: "began"}),  # a pause
        ([0.2] * 5 + [0.0] * 20, {4: "began", 20: "ended"}),
        ([0.015] * 2_000 + [0.04] * 5, {}),  # a room's noise, learned in forty seconds
        ([0.015] * 2_000 + [0.06] * 5, {2_004: "began"}),
    ],
)
def test_a_voice_begins_after_a_tenth_of_a_second_and_ends_after_a_third(
    levels: list[float], told: dict[int, str], page: Any
) -> None:
    heard = page.evaluate(HEARD, levels)
    assert {piece: word for piece, word in enumerate(heard) if word} == told


WATCH_DEVICES = """(milliseconds) => {
  const opened = (window.opened = { streams: [], contexts: [] });
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (wanted) => {
    await new Promise((done) => setTimeout(done, milliseconds));  // the person thinks about it
    const stream = await ask(wanted);
    opened.streams.push(stream);
    return stream;
  };
  const Context = window.AudioContext;
  window.AudioContext = class extends Context {
    constructor(...options) { super(...options); opened.contexts.push(this); }
  };
}"""
STILL_ON = """opened.streams.flatMap((stream) => stream.getTracks())
  .filter((track) => track.readyState === "live").length +
  opened.contexts.filter((context) => context.state !== "closed").length"""


def pressed(page: Any, button: str, on: bool) -> None:
    until(page, f"document.getElementById('{button}').ariaPressed === '{str(on).lower()}'")


@pytest.mark.parametrize("button", ["microphone", "camera"])
def test_a_double_click_opens_one_device_and_off_is_off(page: Any, button: str) -> None:
    page.evaluate(WATCH_DEVICES, 400)
    page.dblclick(f"#{button}")
    pressed(page, button, on=True)
    page.wait_for_timeout(600)
    assert page.evaluate("opened.streams.length") == 1
    page.click(f"#{button}")
    pressed(page, button, on=False)
    until(page, f"{STILL_ON} === 0")
    assert page.problems == []


def test_a_microphone_that_cannot_be_read_is_let_go(page: Any) -> None:
    page.evaluate(WATCH_DEVICES, 0)
    page.evaluate("() => { AudioWorklet.prototype.addModule = () => Promise.reject(Error()); }")
    page.click("#microphone")
    until(page, "document.getElementById('notice-text').textContent.includes('cannot read')")
    assert page.evaluate("opened.streams.length + opened.contexts.length") == 2
    until(page, f"{STILL_ON} === 0")
    assert page.get_attribute("#microphone", "aria-pressed") == "false"


def test_a_camera_that_cannot_be_shown_is_let_go(page: Any) -> None:
    page.evaluate(WATCH_DEVICES, 0)
    page.evaluate("() => { HTMLVideoElement.prototype.play = () => Promise.reject(Error()); }")
    page.click("#camera")
    until(page, "document.getElementById('notice-text').textContent.includes('no picture')")
    until(page, f"{STILL_ON} === 0")
    assert page.is_hidden("#viewfinder")


PAINTED_CAMERA = """() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 64;
  const pen = canvas.getContext("2d");
  window.paint = (colour) => { pen.fillStyle = colour; pen.fillRect(0, 0, 64, 64); };
  paint("#204080");
  const stream = canvas.captureStream(10);
  setInterval(() => { pen.fillStyle = "#204081"; pen.fillRect(0, 0, 2, 2); }, 100);
  navigator.mediaDevices.getUserMedia = async () => stream;
}"""


def test_a_still_camera_sends_one_frame(page: Any, model: FakeModel) -> None:
    def frames() -> int:
        return sum(image is not None for _, image, _ in model.heard)

    page.evaluate(PAINTED_CAMERA)
    page.click("#camera")
    assert eventually(lambda: frames() == 1, page)
    page.wait_for_timeout(2_500)
    assert frames() == 1
    page.evaluate("paint('#c03020')")
    assert eventually(lambda: frames() == 2, page)
    page.click("#reset")  # the model forgets, so it is shown again
    assert eventually(lambda: frames() == 3, page)


def test_devices_say_what_they_do_or_why_not(browser: Any, server: RunningServer) -> None:
    with browser.new_context() as context:
        context.add_init_script(
            "Object.defineProperty(window, 'isSecureContext', { get: () => false });"
        )
        page = context.new_page()
        page.goto(server.address)
        until(page, "window.quintet?.state === 'live'")
        for button in ("microphone", "camera"):
            assert "https" in page.get_attribute(f"#{button}", "title")
            page.click(f"#{button}", force=True)  # only told to be disabled
            assert f"the {button} only" in page.text_content("#notice-text")
            assert page.get_attribute(f"#{button}", "aria-pressed") == "false"


RESAMPLE = """async ([from, frequency, pieceLength]) => {
  const { Resampler } = await import("/resampler.js");
  const resampler = new Resampler(from, 24000);
  const sound = Float32Array.from({ length: from }, (_, i) =>
    Math.sin((2 * Math.PI * frequency * i) / from));
  const output = [];
  for (let i = 0; i < sound.length; i += pieceLength) {
    output.push(...resampler.push(sound.subarray(i, i + pieceLength)));
  }
  const bytes = new Uint8Array(Float32Array.from(output).buffer);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""


def resampled(page: Any, rate: int, frequency: int, piece: int) -> np.ndarray:
    """One second of a tone at 24 kHz. Numbers in JSON would take as long as all else."""
    return np.frombuffer(base64.b64decode(page.evaluate(RESAMPLE, [rate, frequency, piece])), "<f4")


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000, 96_000])
def test_resampling_keeps_the_voice_without_seams(page: Any, rate: int) -> None:
    small = resampled(page, rate, 1_000, 128)
    assert len(small) == pytest.approx(SAMPLE_RATE, abs=40)  # one second, less the kernel's half
    large = resampled(page, rate, 1_000, 4_096)
    np.testing.assert_allclose(large[:23_900], small[:23_900], atol=1e-6)
    times = np.arange(len(small)) / SAMPLE_RATE
    exact = np.sin(2 * np.pi * 1_000 * times)
    assert np.abs(small - exact)[200:-200].max() < 0.01


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_resampling_removes_what_would_fold_back(page: Any, rate: int) -> None:
    folded = resampled(page, rate, 15_000, 128)
    assert np.sqrt(np.mean(np.square(folded[200:-200]))) < 0.003
