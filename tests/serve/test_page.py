"""The page in a real browser, with a fake microphone, against the fake model."""

from __future__ import annotations

import io
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake import FakeModel
from PIL import Image
from running import RunningServer

from quintet.config import SAMPLE_RATE

CHROMIUM = Path("/usr/bin/chromium")
TONE = 440.0  # Hz, that the fake microphone hears
MICROPHONE_RATE = 48_000

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"There is no browser at {CHROMIUM}; install chromium."
)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def server(model: FakeModel) -> Iterator[RunningServer]:
    running = RunningServer(model)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sound = tmp_path_factory.mktemp("page") / "tone.wav"
    times = np.arange(4 * MICROPHONE_RATE) / MICROPHONE_RATE
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MICROPHONE_RATE)
        file.writeframes((12_000 * np.sin(2 * np.pi * TONE * times)).astype("<i2").tobytes())
    flags = [
        "--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={sound}",
        "--autoplay-policy=no-user-gesture-required",
    ]  # fmt: skip
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, server: RunningServer) -> Iterator[Any]:
    """The page, live; whatever goes wrong in it is in `page.problems`."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda m: page.problems.append(m.text) if m.type == "error" else None)
    page.on("request", lambda request: _only_here(page, server.address, request.url))
    page.goto(server.address)
    until(page, "quintet.state === 'live'")
    yield page
    context.close()


def _only_here(page: Any, address: str, url: str) -> None:
    if not url.startswith((address, "data:", "blob:")):
        page.problems.append(f"asks {url}")


def until(page: Any, condition: str) -> None:
    """Wait until JavaScript's `condition` holds.

    Playwright's own `wait_for_function` evaluates strings in the page, which its policy forbids.
    """
    assert eventually(lambda: page.evaluate(condition), page), f"Never so: {condition}"


def eventually(condition: Callable[[], bool], page: Any) -> bool:
    """Whether `condition` comes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not (holds := condition()) and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    return holds


def pixels_of(page: Any, colour: str) -> int:
    """How many pixels of the timeline have the colour of the style sheet's variable."""
    return page.evaluate(
        """(name) => {
          const canvas = document.getElementById("streams");
          const hex = getComputedStyle(canvas).getPropertyValue(name).trim();
          const wanted = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let count = 0;
          for (let i = 0; i < data.length; i += 4) {
            count += data[i + 3] === 255 && wanted.every((value, c) => data[i + c] === value);
          }
          return count;
        }""",
        colour,
    )


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


RESAMPLE = """async ([from, frequency, pieceLength]) => {
  const { Resampler } = await import("/resampler.js");
  const resampler = new Resampler(from, 24000);
  const sound = Float32Array.from({ length: from }, (_, i) =>
    Math.sin((2 * Math.PI * frequency * i) / from));
  const output = [];
  for (let i = 0; i < sound.length; i += pieceLength) {
    output.push(...resampler.push(sound.subarray(i, i + pieceLength)));
  }
  return output;
}"""


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000, 96_000])
def test_resampling_keeps_the_voice_without_seams(page: Any, rate: int) -> None:
    small = np.array(page.evaluate(RESAMPLE, [rate, 1_000, 128]))
    assert len(small) == pytest.approx(SAMPLE_RATE, abs=40)  # one second, less the kernel's half
    large = page.evaluate(RESAMPLE, [rate, 1_000, 4_096])
    np.testing.assert_allclose(large[:23_900], small[:23_900], atol=1e-6)
    times = np.arange(len(small)) / SAMPLE_RATE
    exact = np.sin(2 * np.pi * 1_000 * times)
    assert np.abs(small - exact)[200:-200].max() < 0.01


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_resampling_removes_what_would_fold_back(page: Any, rate: int) -> None:
    folded = np.array(page.evaluate(RESAMPLE, [rate, 15_000, 128]))
    assert np.sqrt(np.mean(np.square(folded[200:-200]))) < 0.003
