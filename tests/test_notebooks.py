"""The notebooks run from their first cell to their last, and stay small."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from conftest import needs_world
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
LARGEST = 1.5e6  # bytes, all together, with their outputs
# What a full run says -> what is enough to see that it runs.
SHORTER = {
    "one-scene.ipynb": {},
    "change-one-idea.ipynb": {
        "SCENES, HELD_OUT, STEPS = 120, 48, 80": "SCENES, HELD_OUT, STEPS = 8, 8, 2"
    },
}


@needs_world
@pytest.mark.parametrize("name", SHORTER)
def test_notebooks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    for whole, shorter in SHORTER[name].items():
        cell = next(cell for cell in notebook.cells if whole in cell.source)
        cell.source = cell.source.replace(whole, shorter)
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()


def test_notebooks_are_all_tested_executed_and_small() -> None:
    files = sorted(FOLDER.glob("*.ipynb"))
    assert {file.name for file in files} == set(SHORTER)
    assert sum(file.stat().st_size for file in files) < LARGEST
    for file in files:
        cells = nbformat.read(file, as_version=4).cells
        assert all(cell.execution_count for cell in cells if cell.cell_type == "code"), file
