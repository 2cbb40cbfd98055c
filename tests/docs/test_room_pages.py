"""No page goes stale: what is made from the code is as the code makes it, and examples run."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import click
import pytest
from conftest import needs_world
from test_imports import MAY_IMPORT

from quintet.stages.recipe import STAGES
from scripts import write_docs
from scripts.write_docs import MARKED, PAGES, ROOT, written

DOCS = ROOT / "docs"
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# An example that runs, and what it prints, if the page says so.
EXAMPLE = re.compile(
    r"<!-- runs(: world)? -->\n```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL
)
EXAMPLES = [
    pytest.param(*found, id=f"{name}-{number}", marks=needs_world if world else ())
    for name, page in zip(NAMES, PAGES, strict=True)
    for number, (world, *found) in enumerate(EXAMPLE.findall(page.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_made_from_the_code_is_up_to_date(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == written(text), "run python -m scripts.write_docs"
    opened = len(re.findall(r"^<!-- made: ", text, re.MULTILINE))
    assert opened == len(MARKED.findall(text))  # a marker that is misspelt would be passed over


def test_the_help_is_the_same_whoever_asked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    group = click.Group("quintet", {"one": click.Command("one")})
    group.commands["one"].make_context("one", [])
    monkeypatch.setattr(write_docs, "commands", group)
    assert "-h, --help" in write_docs.command_help("")


@pytest.mark.parametrize(("program", "prints"), EXAMPLES)
def test_the_example_runs(
    program: str, prints: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(program, "the example", "exec"), {"__name__": "example"})
    if prints:
        assert said.getvalue().endswith(prints)  # a progress bar may stand before it


def test_every_room_and_every_stage_has_its_page() -> None:
    rooms = {page.stem for page in (DOCS / "rooms").glob("*.md")}
    assert rooms == set(MAY_IMPORT) - {
        "settings",
        "products",
        "kept",
        "whole_file",
        "cli",
        "__init__",
        "__main__",
    }
    assert {page.stem for page in (DOCS / "stages").glob("*.md")} == set(STAGES)
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.findall(r"stages/(\w+)\.md$", menu, re.MULTILINE) == list(STAGES)
