"""How much the tests of a folder notice: its code is changed in one place at a time, and its tests
should fail.

    .venv/bin/python scripts/mutate.py timeline
    .venv/bin/python scripts/mutate.py live --sample 60 --seed 1   # so many, drawn at random
    .venv/bin/python scripts/mutate.py live --file talk.py --test tests/live/test_talk_steps.py

Nothing is written: a process is forked for each change, and imports the changed module from
memory. It runs the tests that reach the changed line, those of its module and then the shortest
first, until one fails; those of more than five seconds wait until all changes had the others.
Prints the changes that no test notices; those that mean the same are explained in docs/testing.md.
A change that makes tests compute without end counts as noticed.
"""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import click

ROOT = Path(__file__).parent.parent
# Where the folder's code is tested: its own tests, and laws of the whole.
TESTS = {
    "timeline": ["tests/timeline", "tests/model/test_laws.py", "tests/model/test_prompt.py"],
    "live": ["tests/live"],
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
SECONDS_MORE = 20  # of computing, beside four times what the tests take unchanged: no end in sight
QUICK = 5.0  # seconds of computing: longer tests come last
LONGEST = 1_800.0  # seconds on the clock, for what waits without computing


@dataclass(frozen=True)
class Mutant:
    """A module of the package with one change."""

    path: Path
    line: int
    lines: range  # of the statement that is changed
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
    kept, statements = _kept(tree), _statements(tree)
    for place, node in enumerate(ast.walk(tree)):
        if node in kept or not isinstance(node, MUTABLE):
            continue
        for way in range(2):  # a number has two
            changed = ast.parse(source)
            change = _mutate(changed, next(islice(ast.walk(changed), place, None)), way)
            if not change:
                break
            code = ast.unparse(ast.fix_missing_locations(changed))
            yield Mutant(path, node.lineno, statements[node], change, code)


def _statements(tree: ast.AST) -> dict[ast.AST, range]:
    """The lines of the innermost statement around each node; of a loop or a branch, its head."""
    found: dict[ast.AST, range] = {}
    for outer in ast.walk(tree):  # from the outside in
        if isinstance(outer, ast.stmt):
            body = getattr(outer, "body", None)
            end = body[0].lineno if body else (outer.end_lineno or outer.lineno) + 1
            lines = range(outer.lineno, max(end, outer.lineno + 1))
            found |= {node: lines for node in ast.walk(outer)}
    return found


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


class _Reach:
    """A plugin of pytest: which lines each test reaches, and for how long it computes."""

    def __init__(self, files: list[Path]) -> None:
        import coverage

        self.files = files
        self.coverage = coverage.Coverage(
            data_file=None, include=list(map(str, files)), config_file=False
        )
        self.seconds: dict[str, float] = {}

    def pytest_sessionstart(self) -> None:
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)
        self.seconds[nodeid] = -time.process_time()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] += time.process_time()

    def told(self) -> dict[str, Any]:
        """The tests with their seconds, and the tests of each line of each file."""
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {str(path): data.contexts_by_lineno(str(path)) for path in self.files}
        return {"seconds": self.seconds, "lines": lines}


class Reach:
    """What `_Reach` has told, asked for one change at a time."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.seconds: dict[str, float] = told["seconds"]
        self.tests: dict[tuple[str, int], set[str]] = defaultdict(set)
        for path, lines in told["lines"].items():
            for line, tests in lines.items():
                self.tests[path, int(line)] = set(tests) & set(self.seconds)

    def of(self, mutant: Mutant) -> list[str]:
        """The tests that may notice: all, if the line runs on import. Those of the module come
        first, then the shortest."""
        found = set().union(*(self.tests[str(mutant.path), line] for line in mutant.lines))
        own = f"test_{mutant.path.stem}"
        return sorted(found or self.seconds, key=lambda test: (own not in test, self.seconds[test]))


def measure(files: list[Path], tests: list[str]) -> Reach:
    """Run the tests on the code as it is.

    Raises:
        SystemExit: they fail.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "reach.json"
        child = os.fork()
        if child == 0:
            plugin = _Reach(files)
            status = _run_tests(tests, plugin)
            told.write_text(json.dumps(plugin.told()), encoding="utf-8")
            os._exit(status)
        _, code = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(code) != 0:
            raise SystemExit(f"{' '.join(tests)} fails with nothing changed; mend it first.")
        return Reach(json.loads(told.read_text(encoding="utf-8")))


def passes(mutant: Mutant, tests: list[str], seconds: int) -> bool:
    """Whether the tests pass with the change, in a process of their own that computes for at most
    so many seconds."""
    child = os.fork()
    if child == 0:
        os.setpgrp()
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        sys.meta_path.insert(0, _FromMemory(mutant))
        os._exit(_run_tests(tests))
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(code) == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _run_tests(tests: list[str], *plugins: object) -> int:
    """Import the package anew and run tests without a word; pytest's exit status."""
    import pytest

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1), os.dup2(silence, 2)
    for name in [name for name in sys.modules if f"{name}.".startswith("quintet.")]:
        del sys.modules[name]
    # Nobody reads what failed, and what other packages add to pytest takes seconds to import.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    bare = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider"]
    try:
        return int(pytest.main([*bare, *tests], list(plugins)))
    except BaseException:
        return 1


def _import_all() -> None:
    """Once, before processes are forked, as it takes seconds."""
    import pytest  # noqa: F401
    import torch

    for room in ("cli", "live", "serve", "train", "stages.recipe", "data.world.scenes"):
        importlib.import_module(f"quintet.{room}")
    torch.set_num_threads(1)
    gc.freeze()  # or else each process walks through all of it, and copies it


@click.command()
@click.argument("folder", type=click.Choice(list(TESTS)))
@click.option("--sample", type=click.IntRange(min=1), help="So many, at random; all by default.")
@click.option("--seed", default=0, show_default=True, help="Of the sample.")
@click.option("--file", "only", multiple=True, help="Only this file of the folder; repeatable.")
@click.option("--test", "tests", multiple=True, help="Ask only this file or test; repeatable.")
def main(
    folder: str, sample: int | None, seed: int, only: tuple[str, ...], tests: tuple[str, ...]
) -> None:
    """Print what the tests of FOLDER do not notice."""
    os.chdir(ROOT)
    _import_all()
    names, room = only or ("*.py",), ROOT / "quintet" / folder
    found = [path for name in names for path in sorted(room.glob(name))]
    files = [path for path in found if path.name not in LEFT_OUT]
    reach = measure(files, list(tests) or TESTS[folder])
    chosen = [mutant for path in files for mutant in mutants(path)]
    if sample is not None and sample < len(chosen):
        drawn = sorted(random.Random(seed).sample(range(len(chosen)), sample))
        chosen = [chosen[index] for index in drawn]
    left = chosen
    for slow in (False, True):
        left = list(_unnoticed(left, reach, slow))
    print(f"{len(chosen)} changes of {folder}, {len(left)} not noticed")


def _unnoticed(chosen: list[Mutant], reach: Reach, slow: bool) -> Iterator[Mutant]:
    """Those that the quick tests, or the slow ones, do not notice; told as they are found."""
    kind = "slow" if slow else "quick"
    for count, mutant in enumerate(chosen, 1):
        print(f"{count}/{len(chosen)} {kind}", end="\r", file=sys.stderr, flush=True)
        tests = [test for test in reach.of(mutant) if (reach.seconds[test] > QUICK) == slow]
        usual = sum(reach.seconds[test] for test in tests)
        if not tests or passes(mutant, tests, SECONDS_MORE + int(4 * usual)):
            print(f"{kind}: {mutant}", flush=True)
            yield mutant


if __name__ == "__main__":
    main()
