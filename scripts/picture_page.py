"""A picture of the page, with the bundled model: `python -m scripts.picture_page` -> docs/page.png.

Run it anew when the page or the model has changed. Needs playwright (extra dev) and Chromium.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import uvicorn
from playwright.sync_api import Page, sync_playwright

import quintet
from quintet.data.world.pictures import render_picture
from quintet.data.world.things import THINGS
from quintet.media.images import write_image
from quintet.serve import create_app, listen, uvicorn_config

PICTURE = Path(__file__).parent.parent / "docs" / "page.png"
CHROMIUM = "/usr/bin/chromium"
SHOWN = "rocket"
PAUSE = 8_000  # milliseconds between questions, which the model needs


def talk(page: Page, shown: Path) -> None:
    """Show a picture and ask, then ask for a drawing."""
    page.set_input_files("#file", str(shown))
    page.fill("#message", "what is this?")
    page.press("#message", "Enter")
    page.wait_for_timeout(PAUSE)
    page.fill("#message", "draw a cat.")
    page.press("#message", "Enter")
    page.wait_for_timeout(PAUSE)


def main() -> None:
    thing = next(thing for thing in THINGS if thing.name == SHOWN)
    shown = PICTURE.with_name("shown.png")
    write_image(shown, render_picture(thing, np.random.default_rng(5), "test", 256))
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn_config(create_app(quintet.load("nano"), 1)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1000, "height": 960})
            page.goto(f"http://127.0.0.1:{listening.getsockname()[1]}/")
            page.wait_for_selector("body[data-state=live]", timeout=60_000)
            talk(page, shown)
            page.screenshot(path=str(PICTURE))
            browser.close()
    finally:
        server.should_exit = True
        thread.join()
        shown.unlink()


if __name__ == "__main__":
    main()
