"""What a person is told of numbers of things."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import run


def test_talk_tells_one_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("talk", "--text", "draw a cat.", "--out", tmp_path / "out") == 0
    assert " 1 picture; " in capsys.readouterr().out
