"""Without the font of the world's pictures."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from quintet.config import UserError
from quintet.media import emoji


@pytest.mark.parametrize("found", ["/usr/share/fonts/Other.ttf", "", FileNotFoundError()])
def test_another_font_is_not_taken(found: str | Exception, monkeypatch) -> None:
    """Whatever fontconfig gives instead, or if there is no fontconfig."""

    def match(*_: object, **__: object) -> SimpleNamespace:
        if isinstance(found, Exception):
            raise found
        return SimpleNamespace(stdout=found)

    monkeypatch.setattr(Path, "exists", lambda path: "NotoColorEmoji" not in path.name)
    monkeypatch.setattr(subprocess, "run", match)
    with pytest.raises(UserError, match="fonts-noto-color-emoji"):
        emoji._font.__wrapped__()
