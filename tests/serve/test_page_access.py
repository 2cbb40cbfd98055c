"""The page for everybody: names and roles, contrast, focus, small windows."""

# ruff: noqa: F401, F811 (pytest takes imported fixtures for arguments by their names)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browsing import browser, model, needs_chromium, page, server, until

pytestmark = needs_chromium

# Roles of what a person operates or is told, each of which must have a name.
NAMED = {
    "button", "checkbox", "combobox", "dialog", "group", "image", "link", "log", "meter", "option",
    "slider", "textbox", "region", "Canvas", "Video",
}  # fmt: skip
CONTRAST = """() => {
  const rgba = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    const unit = text.startsWith("color(") ? 255 : 1;
    return [...found.slice(0, 3).map((value) => value * unit), found[3] ?? 1];
  };
  const over = ([r, g, b, a], under) =>
    [r, g, b].map((value, i) => value * a + under[i] * (1 - a)).concat(1);
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => value / 255)
      .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const behind = [];
    for (let it = element; it; it = it.parentElement) {
      behind.unshift(rgba(getComputedStyle(it).backgroundColor));
    }
    return behind.reduce((under, colour) => over(colour, under), [255, 255, 255, 1]);
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let looked = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest(":disabled, .for-readers, [aria-hidden=true], option, noscript")) continue;
    const style = getComputedStyle(element);
    const under = ground(element);
    const [one, other] = [light(over(rgba(style.color), under)), light(under)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    looked += 1;
    if (ratio < (large ? 3 : 4.5)) {
      faint.push(`${walker.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
    }
  }
  return [looked, faint];
}"""
OUTSIDE = """() => {
  const out = [...document.querySelectorAll("button, input, select, canvas")]
    .filter((it) => it.checkVisibility() && !it.closest("#suggestions"))
    .filter((it) => {
      const { left, right } = it.getBoundingClientRect();
      return left < 0 || right > innerWidth + 0.5;
    }).map((it) => it.id);
  const dialog = document.getElementById("settings");
  const wide = dialog.open && dialog.scrollWidth > dialog.clientWidth;
  return [...out, ...(document.documentElement.scrollWidth > innerWidth || wide ? ["page"] : [])];
}"""


def nameless(page: Any) -> list[str]:
    """What Chromium tells assistive technology without a name."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    seen = [node for node in nodes if not node["ignored"]]
    assert len(seen) > 30
    return [
        f"{node['role']['value']} {node['backendDOMNodeId']}"
        for node in seen
        if node["role"]["value"] in NAMED and not node.get("name", {}).get("value", "").strip()
    ]


def fill_conversation(page: Any) -> None:
    """One of everything that can be on the page."""
    page.fill("#message", "draw a cat.")
    page.press("#message", "Enter")
    until(page, "quintet.pictures === 1")
    page.evaluate("document.getElementById('notice').hidden = false")
    page.evaluate(
        """() => {
          document.querySelector(".bubble.words").classList.add("interrupted");
          document.getElementById("notice-text").textContent = "A sentence.";
          document.getElementById("viewfinder").hidden = false;
        }"""
    )


def test_everything_has_a_name_and_what_changes_is_told(page: Any) -> None:
    assert nameless(page) == []
    fill_conversation(page)
    assert nameless(page) == []
    page.click("#settings-open")
    assert nameless(page) == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((it) => it.id)")
    assert len(ids) == len(set(ids))
    dangling = page.evaluate(
        """[...document.querySelectorAll("[aria-labelledby], [aria-describedby], [for]")]
          .flatMap((it) => ["aria-labelledby", "aria-describedby", "for"]
            .map((name) => it.getAttribute(name)).filter(Boolean))
          .filter((id) => !document.getElementById(id))"""
    )
    assert dangling == []
    live = page.evaluate(
        """["announcement", "state-text", "notice-text", "conversation"].map((id) => {
          const it = document.getElementById(id);
          return [it.getAttribute("role"), it.getAttribute("aria-live")];
        })"""
    )
    assert live == [[None, "polite"], ["status", None], ["alert", None], ["log", "off"]]


def test_words_stand_out_in_the_light_and_in_the_dark(page: Any) -> None:
    for filled in (False, True):
        if filled:
            fill_conversation(page)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            looked, faint = page.evaluate(CONTRAST)
            assert looked > 20
            assert faint == [], scheme
    page.click("#settings-open")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST)[1] == [], scheme


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(page: Any) -> None:
    page.evaluate("document.activeElement.blur()")
    order = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => {
              const it = document.activeElement;
              const framed = getComputedStyle(it).outlineStyle !== "none";
              const seen = framed || it.id === "message"; // whose form is framed
              return it === document.body || !seen ? "" : it.id || it.parentElement.id;
            }"""
        )
        if not name:
            break
        if not order or order[-1] != name:
            order.append(name)
    assert order == [
        "sound", "reset", "settings-open", "streams", "conversation", "samples", "phrases",
        "more", "microphone", "camera", "screen", "picture", "message", "send",
    ]  # fmt: skip
    page.focus("#settings-open")
    page.keyboard.press("Enter")
    inside = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        inside.add(page.evaluate("(document.activeElement.closest('dialog') ?? document.body).id"))
    assert "settings" in inside
    behind = page.evaluate(  # nothing there takes the focus
        "['message', 'sound'].filter((id) => { const it = document.getElementById(id); it.focus();"
        " return document.activeElement === it; })"
    )
    assert behind == []
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "settings-open"


def test_however_long_the_phrases_there_is_a_button_for_others(page: Any) -> None:
    phrases = page.locator("#phrases button")
    for width in (1280, 800, 390):
        page.set_viewport_size({"width": width, "height": 800})
        phrases.evaluate_all(
            "all => all.map((it) => (it.textContent = 'say elephant. '.repeat(9)))"
        )
        place = page.locator("#more").bounding_box()
        fading = page.locator("#suggestions").bounding_box()
        assert fading["x"] + fading["width"] <= place["x"], width
        assert place["x"] + place["width"] <= width, width
        page.click("#more")
        assert all(len(phrase) < 50 for phrase in phrases.all_text_contents())


def test_nothing_sticks_out_of_a_narrow_window(page: Any) -> None:
    fill_conversation(page)
    for width in (320, 360, 768):
        page.set_viewport_size({"width": width, "height": 740})
        page.wait_for_timeout(100)
        assert page.evaluate(OUTSIDE) == [], width
        page.click("#settings-open")
        assert page.evaluate(OUTSIDE) == [], width
        page.click("#settings-close")
        # Even with the camera's picture and a message there is room for what is said.
        assert page.evaluate("document.getElementById('conversation').clientHeight") > 100, width
