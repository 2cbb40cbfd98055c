"""The examples in the pages on the server run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from running import RunningServer

from quintet.live import load

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["realtime-api.md", "serve.md"])
def test_the_example_runs(page: str, tmp_path: Path) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    server = RunningServer(load("nano"))
    try:
        program = found[1].replace("//127.0.0.1:8321/", server.address.removeprefix("http:"))
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
    finally:
        server.stop()
    assert done.stdout == "One, two, three.", done.stderr
    with wave.open(str(tmp_path / "reply.wav")) as reply:
        assert reply.getnframes() > 24_000
