"""A scene's page: what it says of rows is the mask's, it needs nothing else, it trusts no text."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_config, make_timeline, make_tokenizers, needs_world

from quintet.config import OmniConfig, UserError
from quintet.data.scene_rows import SceneEncoder
from quintet.data.world.scenes import Scene, make_scene
from quintet.data.world.view import _row_columns, seen_ranges, write_view
from quintet.timeline.masks import live_mask

CHROMIUM = Path("/usr/bin/chromium")
needs_browser = pytest.mark.skipif(
    not CHROMIUM.exists() or find_spec("playwright") is None,
    reason=f"There is no browser at {CHROMIUM}, or playwright is not installed.",
)
EVIL = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)> & \"é\u2028"


@pytest.fixture(scope="module")
def encoder() -> SceneEncoder:
    config = make_config()
    return SceneEncoder(config, make_tokenizers(config))


@pytest.fixture(scope="module")
def scene() -> Scene:
    """With everything in it, and with texts that would like to be markup."""
    made = make_scene(2, "train", ("draw", "name", "say"), other_speaker=True)
    assert made.speaker is not None
    speaker = replace(made.speaker, voice=replace(made.speaker.voice, name=EVIL))
    lines = tuple(replace(line, text=EVIL, words=(replace(line.words[0], text=EVIL),))
                  for line in made.lines)  # fmt: skip
    replies = tuple(replace(reply, text=EVIL) for reply in made.replies)
    assert replies
    return replace(made, lines=lines, replies=replies, source=EVIL, speaker=speaker)


def test_the_ranges_are_the_mask(config: OmniConfig) -> None:
    for window in (3, 1 << 30):
        rows = make_timeline(config, 9, seed=4).streams()
        seen = np.zeros((len(rows), len(rows)), bool)
        for row, ranges in enumerate(seen_ranges(rows, window)):
            for first, end in zip(ranges[::2], ranges[1::2], strict=True):
                seen[row, first:end] = True
        assert np.array_equal(seen, live_mask(rows, window))


def test_rows_share_their_step_and_are_ranked_as_the_model_reads_them(config: OmniConfig) -> None:
    timeline = make_timeline(config, 9, seed=4)
    rows = timeline.streams()
    table = _row_columns(rows, make_tokenizers(config).text, config.text.vocab_size)
    start, seconds = np.array(table["start"]), np.array(table["seconds"])
    for stream, step in {(int(a), int(b)) for a, b in zip(rows.stream, rows.step, strict=True)}:
        of_step = (rows.stream == stream) & (rows.step == step)
        share = 0.25 / of_step.sum()
        expected = step / 4 + share * np.arange(of_step.sum())
        assert np.allclose(start[of_step], expected, atol=1e-4)
        assert np.allclose(seconds[of_step], share, atol=1e-4)
    order = np.argsort(table["rank"])
    assert np.array_equal(rows.take(order).tokens, timeline.rows().tokens)


@needs_world
def test_a_page_stands_alone_and_no_text_is_markup(
    scene: Scene, encoder: SceneEncoder, tmp_path: Path
) -> None:
    write_view(scene, encoder, tmp_path / "view.html", EVIL)
    page = (tmp_path / "view.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 2
    assert page.count("<img") == 0
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert set(re.findall(r"https?://[^\"]*", page)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page and "unsafe" not in page
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["name"] == EVIL and any(span["text"] == EVIL for span in data["spans"])
    assert len(data["sees"]) == len(data["rows"]["stream"])
    with pytest.raises(UserError, match="choose another folder"):
        write_view(scene, encoder, tmp_path / "missing" / "view.html", "x")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright import sync_api

    flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield browser
        browser.close()


def _until(page: Any, condition: str) -> None:
    """Ask again and again: the page's policy lets nobody leave code there that asks."""
    end = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


@needs_browser
@needs_world
@pytest.mark.parametrize("width", [360, 1_300])
def test_the_page_in_a_browser(
    browser: Any, scene: Scene, encoder: SceneEncoder, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "view.html"
    write_view(scene, encoder, path, EVIL)
    page = browser.new_page(viewport={"width": width, "height": 800})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: problems.append(request.url)
            if not request.url.startswith(("data:", path.as_uri())) else None)  # fmt: skip
    page.goto(path.as_uri())
    _until(page, "sound.duration > 0")
    assert page.evaluate("Math.abs(sound.duration - data.seconds)") < 0.01
    assert page.title().startswith("</script>")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".lane h3").all_inner_texts() == [
        "text in", "audio in", "image in", "text + image out", "audio out",
    ]  # fmt: skip

    assert page.locator("#speaker b").inner_text() == EVIL
    page.evaluate("document.querySelector('#speaker audio').load()")
    _until(page, "document.querySelector('#speaker audio').duration > 0.2")
    rows = encoder.timeline(replace(scene, speaker=None)).streams()
    mask = live_mask(rows, encoder.config.live.window_steps)
    row = int(np.flatnonzero(rows.stream == 0)[0])  # the first that the assistant writes
    page.evaluate(f"reveal(rows.start[{row}])")
    page.evaluate(f"bars[{row}].dispatchEvent(new MouseEvent('click', {{bubbles: true, "
                  f"clientX: bars[{row}].getBoundingClientRect().x + 1}}))")  # fmt: skip
    assert page.evaluate("chosen") == row
    seen = page.evaluate("bars.map((bar) => bar.classList.contains('seen'))")
    assert seen == mask[row].tolist()
    page.keyboard.press("]")
    assert page.evaluate("rows.rank[chosen]") == page.evaluate(f"rows.rank[{row}]") + 1
    page.keyboard.press("Escape")
    assert page.evaluate("chosen") == -1
    page.keyboard.press("ArrowRight")
    assert page.evaluate("sound.currentTime") == 0.25
    page.keyboard.press("Space")
    _until(page, "sound.currentTime > 0.6")
    page.keyboard.press("Space")
    _until(page, "sound.paused")
    _until(page, "Math.abs(parseFloat(cursor.style.left) - sound.currentTime * scale) < 1")
    before = page.evaluate("scale")
    page.keyboard.press("+")
    assert page.evaluate("scale") > before
    assert problems == []
    page.close()
