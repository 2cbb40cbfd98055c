"""`quintet bench`: a benchmark's rows as a table and as JSON, and what is told where one lacks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import click
from conftest import run

from quintet.cli import commands
from quintet.commands import bench

ROWS = [
    {"name": "a step", "unit": "ms", "value": 12.5, "peer": 250.0, "ratio": 0.05},
    {"name": "memory", "unit": "MB", "value": 1234.0, "peer": None, "ratio": None},
]


def test_rows_are_printed_and_written(tmp_path: Path, monkeypatch, capsys) -> None:
    asked: list[tuple[object, ...]] = []

    def benchmark(model: str, **options: object) -> list[dict[str, object]]:
        asked.append((model, *options.values()))
        return ROWS

    module = SimpleNamespace(run=benchmark)
    monkeypatch.setattr(bench.importlib, "import_module", lambda name: module)
    assert run("bench", "live", "--model", "mine", "--json", tmp_path / "live.json") == 0
    assert run("bench", "codec-quality", "--speech", tmp_path) == 0
    assert asked == [("mine",), ("nano", tmp_path)]
    assert json.loads((tmp_path / "live.json").read_text()) == {"rows": ROWS}
    printed = capsys.readouterr().out
    assert "a step" in printed and "0.05" in printed and "1,234" in printed


def test_the_choices_are_told_once_and_explained(capsys) -> None:
    (what,) = (p for p in commands.commands["bench"].params if p.name == "what")
    assert isinstance(what.type, click.Choice)
    assert run("bench", "nope") == 2
    told = capsys.readouterr().err
    assert run("bench", "--help") == 0
    explained = " ".join(capsys.readouterr().out.split())
    for choice in what.type.choices:
        assert told.count(f"'{choice}'") == 1 and f"({choice})" in explained
    assert "|" not in told


def test_what_is_missing_is_told(tmp_path: Path, monkeypatch, capsys) -> None:
    assert run("bench", "live", "--speech", tmp_path) == 2
    assert "takes no --speech" in capsys.readouterr().err

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name="pesq")

    monkeypatch.setattr(bench.importlib, "import_module", missing)
    assert run("bench", "codec-quality") == 2
    assert "needs the package pesq" in capsys.readouterr().err
    monkeypatch.setattr(bench, "CHECKOUT", tmp_path)
    assert run("bench", "live") == 2
    assert "run this in a checkout" in capsys.readouterr().err
