"""Pages without a server, without the network and without other files.

Media lie in a page as data, and its content policy lets nothing else in. Texts reach it as JSON
and are only ever set as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent / "page"


def make_page(title: str, part: str, data: dict[str, Any]) -> str:
    """A page of its own from `page/PART.css`, `.html` and `.js`, which finds `data` in it.

    Nothing else may load or run there: the policy names the page's own script and style.
    """
    style, script = ((PARTS / f"{part}.{kind}").read_text("utf-8") for kind in ("css", "js"))
    body = (PARTS / f"{part}.html").read_text("utf-8")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
    # Inside a script element only "<" could end it or begin a comment.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head>\n<body>\n{body}"
        f'<script type="application/json" id="data">{text}</script>\n'
        f"<script>{script}</script>\n</body></html>\n"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def png_source(content: bytes) -> str:
    """A PNG's content as an address that a page can show."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
