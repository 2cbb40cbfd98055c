"""The page in a real browser, with a fake microphone, against the fake model."""

from __future__ import annotations

import io
import json
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

from quintet.config import SAMPLE_RATE, OmniConfig
from quintet.serve.keys import Keys
from quintet.serve.protocol import error_event, hello

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
    half = {**QUIET_STEP, "speaking": True}  # its sound never comes
    drawn = {"type": "image", "step": 2, "data": PIXEL, "done": True}
    page = scripted([HELLO, half, drawn, 1001], [HELLO, QUIET_STEP])
    until(page, "window.quintet?.state === 'live' && quintet.steps === 1")
    page.wait_for_timeout(200)
    assert page.evaluate("quintet.pictures") == 0
    assert pixels_of(page, "--audio-out") == 0


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


def test_a_key_in_the_address_opens_a_server_that_wants_one(browser: Any) -> None:
    key = "a-key-of-sixteen-and-more"
    server = RunningServer(FakeModel(), keys=Keys([key]))
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(server.address)
        until(page, "quintet.state === 'connecting' || quintet.state === 'reconnecting'")
        page.goto(f"{server.address}#key={key}")
        page.reload()
        until(page, "quintet.state === 'live'")
    finally:
        context.close()
        server.stop()
