"""The example of docs/realtime-api.md runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
import wave
from pathlib import Path

from running import RunningServer

from quintet.live import load

DOCS = Path(__file__).parents[2] / "docs" / "realtime-api.md"


def test_the_example_runs(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    server = RunningServer(load("nano"))
    try:
        program = found[1].replace("http://127.0.0.1:8321/", server.address)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
    finally:
        server.stop()
    assert done.stdout == "One, two, three.", done.stderr
    with wave.open(str(tmp_path / "reply.wav")) as reply:
        assert reply.getnframes() > 24_000
