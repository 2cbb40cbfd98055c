"""How much the tests of a folder notice: its code is changed in one place at a time, and its tests
should fail.

    .venv/bin/python scripts/mutate.py timeline
    .venv/bin/python scripts/mutate.py live --every 7 --first 3   # each seventh, from the third on

Nothing is written: a process is forked for each change, and imports the changed module from
memory. Prints the changes that no test notices; those that mean the same are explained in
docs/testing.md. A change that makes tests hang counts as noticed.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import click

ROOT = Path(__file__).parent.parent
# The folder's own tests, which see no other code changed; then, for what these do not notice, laws
# of the whole, for which all of the package is imported anew.
TESTS = {
    "timeline": (["tests/timeline"], ["tests/model/test_laws.py"]),
    "live": (
        [
            "tests/live/test_decoder.py",
            "tests/live/test_talk_steps.py",
            "tests/live/test_talk.py",
            "tests/live/test_session.py",
            "tests/live/test_engine.py",
        ],
        ["tests/live/test_recording.py", "tests/live/test_folders.py"],
    ),
}
SWAPPED: dict[type[ast.AST], type[Any]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.Add, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip
MUTABLE = (
    ast.Constant, ast.Compare, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.AugAssign, ast.Expr,
    ast.Assign, ast.Break, ast.Continue, ast.Delete, ast.Raise,
)  # fmt: skip
REMOVED = (ast.AugAssign, ast.Break, ast.Continue, ast.Delete, ast.Raise)
LEFT_OUT = {"timeline_plot.py"}  # most of its numbers are inches of a drawing
SECONDS_MORE = 20.0  # than the tests take unchanged, four times: then they hang


@dataclass(frozen=True)
class Mutant:
    """A module of the package with one change."""

    path: Path
    line: int
    change: str
    source: str

    @property
    def module(self) -> str:
        name = ".".join(self.path.relative_to(ROOT).with_suffix("").parts)
        return name.removesuffix(".__init__")

    def __str__(self) -> str:
        code = self.path.read_text(encoding="utf-8").splitlines()[self.line - 1].strip()
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.change}: {code}"


def mutants(path: Path) -> Iterator[Mutant]:
    """Every change of a file, in its order."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    kept = _kept(tree)
    for place, node in enumerate(ast.walk(tree)):
        if node in kept or not isinstance(node, MUTABLE):
            continue
        for way in range(2):  # a number has two
            changed = ast.parse(source)
            change = _mutate(changed, next(islice(ast.walk(changed), place, None)), way)
            if not change:
                break
            yield Mutant(path, node.lineno, change, ast.unparse(ast.fix_missing_locations(changed)))


def _kept(tree: ast.AST) -> set[ast.AST]:
    """What is not changed: types, assertions, what a message says, what is imported for types."""
    kept: set[ast.AST] = set()
    for outer in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(outer, ast.Assert | ast.JoinedStr | ast.ImportFrom):
            parts = [outer]
        elif isinstance(outer, ast.AnnAssign | ast.arg):
            parts = [outer.annotation]
        elif isinstance(outer, ast.FunctionDef):
            parts = [outer.returns, *outer.decorator_list]
        elif isinstance(outer, ast.Assign) and isinstance(outer.targets[0], ast.Name):
            # Names of types, such as `Part = str | Image`.
            name = outer.targets[0].id
            parts = [outer.value] if name[0].isupper() and not name.isupper() else []
        kept |= {node for part in parts if part is not None for node in ast.walk(part)}
    return kept


def _mutate(tree: ast.AST, node: ast.AST, way: int) -> str:
    """Change `node` in its `tree`; what was done, or nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        if isinstance(node.value, bool):
            return ""
        node.value += 1 - 2 * way
        return "a number less one" if way else "a number and one"
    if way:
        return ""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        node.ops[0] = _swapped(node.ops[0])
        return f"compared by {type(node.ops[0]).__name__}"
    if isinstance(node, ast.BoolOp | ast.BinOp | ast.AugAssign) and type(node.op) in SWAPPED:
        node.op = _swapped(node.op)
        return f"by {type(node.op).__name__}"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        return _replace(tree, node, node.operand, "not negated")
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Yield)
    kept = isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name | ast.Tuple)
    if call or kept or isinstance(node, REMOVED):
        return _replace(tree, node, ast.Pass(), "left out")
    return ""


def _swapped(operator: ast.AST) -> Any:
    return SWAPPED[type(operator)]()


def _replace(tree: ast.AST, node: ast.AST, new: ast.AST, change: str) -> str:
    class Replacer(ast.NodeTransformer):
        def visit(self, other: ast.AST) -> ast.AST:
            return new if other is node else super().visit(other)

    Replacer().visit(tree)
    return change


class _FromMemory(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed source."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self.mutant.module:
            return None
        found = importlib.util.spec_from_file_location(name, self.mutant.path)
        assert found is not None
        found.loader = self
        return found

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.source, str(self.mutant.path), "exec"), module.__dict__)


def passes(mutant: Mutant | None, package: str, tests: list[str], seconds: float) -> bool:
    """Whether the tests pass with the change, in a process of their own, which imports `package`
    anew."""
    child = os.fork()
    if child == 0:
        os.setpgrp()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        status = 1
        try:
            import pytest

            _forget(package)
            if mutant is not None:
                sys.meta_path.insert(0, _FromMemory(mutant))
            status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(code) == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _import_all() -> None:
    """Once, before processes are forked, as it takes seconds."""
    import pytest  # noqa: F401
    import torch

    for room in ("cli", "live", "serve", "train", "stages.recipe", "data.world.scenes"):
        importlib.import_module(f"quintet.{room}")
    torch.set_num_threads(1)


def _forget(package: str) -> None:
    """What is imported of `package` next is imported anew."""
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]


@click.command()
@click.argument("folder", type=click.Choice(list(TESTS)))
@click.option("--every", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--first", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--file", "only", help="Only this file of the folder.")
def main(folder: str, every: int, first: int, only: str | None) -> None:
    """Print what the tests of FOLDER do not notice."""
    os.chdir(ROOT)
    _import_all()
    tiers = list(zip((f"quintet.{folder}", "quintet"), TESTS[folder], strict=True))
    limits = []
    for package, tests in tiers:
        started = time.monotonic()
        if not passes(None, package, tests, 3_600.0):
            raise SystemExit(f"{' '.join(tests)} fails with nothing changed; mend it first.")
        limits.append(SECONDS_MORE + 4 * (time.monotonic() - started))
    found = sorted((ROOT / "quintet" / folder).glob(only or "*.py"))
    files = [path for path in found if path.name not in LEFT_OUT]
    chosen = [m for path in files for m in mutants(path)][first::every]
    survivors = 0
    for count, mutant in enumerate(chosen, 1):
        print(f"{count}/{len(chosen)}", end="\r", file=sys.stderr, flush=True)
        if all(passes(mutant, *tier, limit) for tier, limit in zip(tiers, limits, strict=True)):
            survivors += 1
            print(mutant, flush=True)
    print(f"{len(chosen)} changes of {folder}, {survivors} not noticed")


if __name__ == "__main__":
    main()
