"""The examples in the pages on the server run as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from fake import FakeModel
from running import RunningServer

from quintet.live import load

DOCS = Path(__file__).parents[2] / "docs"


def _examples(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def _run(example: str, server: RunningServer, folder: Path) -> subprocess.CompletedProcess[str]:
    program = example.replace("//127.0.0.1:8321/", server.address.removeprefix("http:"))
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("page", ["realtime-api.md", "serve.md"])
def test_the_example_runs(page: str, tmp_path: Path) -> None:
    server = RunningServer(load("nano"))
    try:
        done = _run(_examples(page)[0], server, tmp_path)
    finally:
        server.stop()
    assert done.stdout == "One, two, three.", done.stderr
    with wave.open(str(tmp_path / "reply.wav")) as reply:
        assert reply.getnframes() > 24_000


@pytest.mark.parametrize("page", ["realtime-api.md", "serve.md"])
def test_the_example_of_voices_runs(page: str, tmp_path: Path) -> None:
    model = FakeModel()
    model.voices = {"linda": np.array([[1, 2, 3]], np.int32)}
    example = _examples(page)[1]
    server = RunningServer(model)
    try:
        done = _run(example, server, tmp_path)
    finally:
        server.stop()
    assert done.stdout.splitlines()[0] == "['quintet', 'linda']", done.stderr
    if page == "serve.md":
        assert json.loads(done.stdout.splitlines()[1]) == {"type": "reset"}
        assert model.speakers[-1] == [[1, 2, 3]]
    else:
        assert model.chat_voices == [None, "linda"]
        assert {path.name for path in tmp_path.iterdir()} == {"quintet.wav", "linda.wav"}
