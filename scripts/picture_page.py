"""A picture of the page, with the bundled model: `python -m scripts.picture_page` -> docs/page.png.

A cat is asked for in writing and drawn; then somebody asks aloud to count to ten, and talks over
it. Run it anew, on a quiet machine, when the page or the model has changed, and look at what came
out: README.md and docs/serve.md say what is to be seen. Needs espeak-ng, playwright (extra dev)
and Chromium.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import numpy as np
import uvicorn
from playwright.sync_api import Page, sync_playwright

import quintet
from quintet.config import SAMPLE_RATE
from quintet.media.audio import write_audio
from quintet.media.speech import TEST_VOICES, Voice, synthesize
from quintet.serve import create_app, listen, uvicorn_config

PICTURE = Path(__file__).parent.parent / "docs" / "page.png"
CHROMIUM = "/usr/bin/chromium"
PAUSE = 6_000  # milliseconds between questions, which the model needs
OVER_AFTER = 3.0  # seconds from the end of the request until it is talked over
VOICE = Voice(TEST_VOICES[0])


def write_sound(path: Path) -> None:
    """What the microphone hears, from when it is opened."""
    request, over = synthesize("count to ten.", VOICE), synthesize("thank you.", VOICE)
    pauses = [np.zeros(round(s * SAMPLE_RATE), np.float32) for s in (0.5, OVER_AFTER, 60.0)]
    write_audio(path, np.concatenate([pauses[0], request, pauses[1], over, pauses[2]]))


def talk(page: Page) -> None:
    """Ask for a drawing, then to count; the microphone talks over that by itself."""
    page.fill("#message", "draw a cat.")
    page.press("#message", "Enter")
    page.wait_for_timeout(PAUSE)
    page.click("#microphone")
    page.wait_for_selector(".bubble.words.interrupted", timeout=60_000)
    page.wait_for_timeout(1_500)


def main() -> None:
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn_config(create_app(quintet.load("nano"), 1)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            sound = Path(folder) / "microphone.wav"
            write_sound(sound)
            flags = [
                "--no-sandbox", "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={sound}",
                "--autoplay-policy=no-user-gesture-required",
            ]  # fmt: skip
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
            page = browser.new_page(viewport={"width": 1100, "height": 800})
            page.goto(f"http://127.0.0.1:{listening.getsockname()[1]}/")
            page.wait_for_selector("body[data-state=live]", timeout=60_000)
            talk(page)
            page.screenshot(path=str(PICTURE))
            browser.close()
    finally:
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
