"""What `scripts/mutate.py` changes in a file, and which tests it asks about a change."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.mutate import Mutant, Reach, mutants

SOURCE = '''\
"""Numbers."""

LIMIT: int = 3


def below(values: list[int], most: int = LIMIT) -> list[int]:
    assert most > 0
    kept = []
    for value in (
        values
    ):
        if value < most and not value == 1:
            kept.append(
                value + 1
            )
    return kept
'''


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "numbers.py").write_text(SOURCE)
    return tmp_path / "numbers.py"


def _named(path: Path) -> dict[str, Mutant]:
    return {f"{m.line} {m.change}": m for m in mutants(path)}


def test_every_place_is_changed_once_and_assertions_and_types_are_not(path: Path) -> None:
    assert set(_named(path)) == {
        "3 a number and one", "3 a number less one", "12 by Or", "12 compared by LtE",
        "12 not negated", "12 compared by NotEq", "12 a number and one", "12 a number less one",
        "13 left out", "14 by Sub", "14 a number and one", "14 a number less one",
    }  # fmt: skip


def test_a_changed_source_is_otherwise_the_same(path: Path) -> None:
    found: dict[str, object] = {}
    exec(_named(path)["14 by Sub"].source, found)
    assert found["below"]([0, 1, 2, 3]) == [-1, 1]  # type: ignore[operator]
    exec(_named(path)["13 left out"].source, found)
    assert found["below"]([0]) == []  # type: ignore[operator]


def test_a_change_is_shown_to_the_tests_that_reach_its_statement_shortest_first(
    path: Path,
) -> None:
    lines = {3: [""], 6: [""], 9: ["slow", "quick"], 12: ["slow", "quick"], 13: ["quick", "slow"],
             16: ["slow", "quick", "other"]}  # fmt: skip
    seconds = {"slow": 2.0, "quick": 0.1, "other": 1.0}
    reach = Reach({"seconds": seconds, "lines": {str(path): lines}})
    found = _named(path)
    assert reach.of(found["14 by Sub"]) == ["quick", "slow"]  # reported at its first line
    assert reach.of(found["12 by Or"]) == ["quick", "slow"]
    assert reach.of(found["3 a number and one"]) == ["quick", "other", "slow"]  # on import
