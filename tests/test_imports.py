"""The house's import table: each folder may import what stands here, and nothing else of ours."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import quintet

PACKAGE = Path(quintet.__file__).parent
BELOW_LIVE = {
    "config", "kept", "products", "compiled", "whole_file", "media", "tokenizers", "timeline",
    "model",
}  # fmt: skip
MAY_IMPORT = {
    "settings": set[str](),
    "products": set[str](),
    "kept": set[str](),
    "compiled": {"config", "kept"},
    "whole_file": set[str](),
    "config": {"settings"},
    "media": {"config", "whole_file"},
    "tokenizers": {"config", "kept", "products", "compiled"},
    "timeline": {"config"},
    "model": {"config", "kept", "products", "compiled", "timeline"},
    "live": BELOW_LIVE,
    "data": {"config", "whole_file", "media", "tokenizers", "timeline"},
    "train": {"settings", "config", "whole_file", "model", "timeline"},
    "evals": BELOW_LIVE | {"live", "data", "train"},
    "stages": BELOW_LIVE | {"settings", "live", "data", "train", "evals"},
    "serve": BELOW_LIVE | {"live"},
    "commands": BELOW_LIVE | {"settings", "live", "data", "train", "evals", "stages", "serve"},
    "cli": BELOW_LIVE | {"live", "data", "train", "evals", "stages", "serve", "commands"},
    "__init__": {"config", "live", "tokenizers"},
    "__main__": {"cli"},
}
# Of each other; both sides of the API may use what they share.
IN_SERVE = {"api": set[str](), "rest": {"api"}, "realtime": {"api"}}

# Where a function of a script begins, if it ends on another line.
SCRIPTED = re.compile(
    r" *(?:export )?(?:async )?(?:function \w+|(?!(?:if|for|while|switch|catch)\b)\w+)\(.*\) \{$"
)


def _imported(path: Path, within: str = "quintet.") -> set[str]:
    """Folders of the package, or of one of its own, that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {n.removeprefix(within).split(".")[0] for n in names if n.startswith(within)}
    return found


def _room(path: Path) -> str:
    inner = path.relative_to(PACKAGE)
    return inner.parts[0] if len(inner.parts) > 1 else inner.stem


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    room = _room(path)
    assert room in MAY_IMPORT, f"{room} is not in the table: add it there and to the design"
    assert _imported(path) <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("room", IN_SERVE)
def test_sides_of_the_server_know_what_they_share_and_not_each_other(room: str) -> None:
    paths = list((PACKAGE / "serve" / room).glob("*.py"))
    assert len(paths) > 1
    for path in paths:
        others = _imported(path, "quintet.serve.") & set(IN_SERVE)
        assert others <= IN_SERVE[room] | {room}, path


BESIDE = [
    path
    for folder in ("benchmarks", "scripts", "tests")
    for path in sorted((PACKAGE.parent / folder).rglob("*.py"))
]
PAGES = [path for path in PACKAGE.rglob("*") if path.suffix in (".js", ".css", ".html")]


def test_files_and_functions_stay_small() -> None:
    assert BESIDE and PAGES
    for path in (*FILES, *BESIDE, *PAGES):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 400, f"{path} has too many lines"
        for name, length in _functions(text) if path.suffix == ".py" else _scripts(text):
            assert length < 60, f"{path}: {name} has {length} lines"


def _functions(text: str) -> Iterator[tuple[str, int]]:
    """The functions of a file and their lengths."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def _scripts(text: str) -> Iterator[tuple[str, int]]:
    """The same of a page's script, as it is formatted: what begins with such a line ends with the
    next brace of the same depth."""
    lines = text.splitlines()
    for first, line in enumerate(lines):
        if begun := SCRIPTED.match(line):
            depth = line[: len(line) - len(line.lstrip())]
            last = next(n for n in range(first, len(lines)) if lines[n].startswith(depth + "}"))
            yield begun[0].strip(), last - first + 1


def test_what_is_defined_is_used() -> None:
    """Every function, class and constant of a module is named where it is not defined: in the
    package, the programs beside it, or a page that tells of it. A test alone keeps nothing."""
    root = PACKAGE.parent
    told = [*root.glob("*.md"), *root.glob("notebooks/*.ipynb"), *root.rglob("docs/*.md")]
    users = [*FILES, *(path for path in BESIDE if root / "tests" not in path.parents), *told]
    words = Counter[str]()
    for path in users:
        if path.name != "log.md":
            words.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for name in _defined(node):
                assert words[name] > 1 or name.startswith("__"), f"{path}: {name} is not used"


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [] if node.decorator_list and isinstance(node, ast.FunctionDef) else [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]
