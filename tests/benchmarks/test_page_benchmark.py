"""The benchmark of the page runs and gives its figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import needs_world

from benchmarks import page
from quintet.config import UserError


@needs_world
@pytest.mark.skipif(not page.CHROMIUM.exists(), reason="There is no Chromium.")
def test_the_page_is_watched(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    monkeypatch.setattr(page, "MINUTES", 0.05)
    values = {row["name"]: row["value"] for row in page.run(str(model_folder))}
    assert values["minutes"] == 0.05
    assert values["median of a step"] > 0
    assert values["underruns"] >= 0


def test_without_a_browser_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "CHROMIUM", Path("/no/chromium"))
    with pytest.raises(UserError, match="no browser"):
        page.run()
