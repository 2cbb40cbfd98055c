"""The table of stages is the sum of their logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.stages import FIRST, main, speeds
from quintet.config import UserError


def _log(folder: Path, lines: list[dict[str, float]]) -> None:
    folder.mkdir()
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "log.jsonl").write_text(text + "\n", encoding="utf-8")


def test_a_table_of_speeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = [{"step": step, "seconds": 60.0, "rows": 1.0, "waiting": 1.0} for step in range(FIRST)]
    even = [{"step": FIRST + n, "seconds": 2.0, "rows": 500.0, "waiting": 0.25} for n in range(4)]
    _log(tmp_path / "pretrain", [*slow, *even, {"step": FIRST + 3, "eval/loss": 1.0}])
    _log(tmp_path / "codec", [{"step": step, "seconds": 1.0} for step in range(FIRST + 1)])
    _log(tmp_path / "begun", [{"step": 0, "seconds": 1.0}])
    found = {speed.name: speed for speed in speeds(tmp_path)}
    assert set(found) == {"pretrain", "codec"}
    assert found["pretrain"].rows_per_second == 250 and found["pretrain"].waiting == 0.25
    assert found["pretrain"].minutes == pytest.approx(FIRST + 8 / 60)
    assert found["codec"].rows_per_second is None
    main([str(tmp_path)], standalone_mode=False)
    assert "250" in capsys.readouterr().out


def test_a_folder_without_logs_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no stage with a log of more than"):
        speeds(tmp_path)
