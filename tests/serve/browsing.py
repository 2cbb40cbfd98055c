"""A real browser with a fake microphone, on the page of the fake model."""

from __future__ import annotations

import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake import FakeModel
from running import RunningServer

CHROMIUM = Path("/usr/bin/chromium")
TONE = 440.0  # Hz, that the fake microphone hears
MICROPHONE_RATE = 48_000

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"There is no browser at {CHROMIUM}; install chromium."
)


@pytest.fixture
def model() -> FakeModel:
    """With another voice, so that there is something to choose."""
    model = FakeModel()
    model.voices = {"linda": np.array([[1, 2, 3]], np.int32)}
    return model


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
