"""Settings from files have the types that they are annotated with, or a sentence says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from quintet.config import TextConfig, UserError
from quintet.settings import Count, Natural, Positive, Share, ShareBelowOne, check_type, from_dict

# Annotation: values that fit, values that do not, and what the person is told to write.
TYPES: list[tuple[Any, list[object], list[object], str]] = [
    (int, [0, -3], [True, 2.0, "2", [2], {}], "a whole number"),
    (float, [0.5, 2, 10**400], [True, "0.5", [0.5], float("nan"), float("inf")], "a number"),
    (str, ["", "a"], [1, True, ["a"]], "text in quotes"),
    (bool, [True, False], [0, 1, "true"], "true or false"),
    (tuple[int, ...], [[], [1, 2], (3,)], [1, [1.5], [True], ["1"], {}], "a list of whole numbers"),
    (tuple[float, float], [[1, 0.5]], [[1], [1, 2, 3], 1, ["a", "b"]], "a list of 2 numbers"),
    (dict[str, int], [{}, {"a": 1}], [3, [], {"a": "1"}, {"a": True}], "a table of whole numbers"),
    (Literal["a", "b"], ["a", "b"], ["c", 1, ["a"], True], "'a' or 'b'"),
    (Count, [1, 10**9], [0, -1, 1.0, True], "a whole number of at least 1"),
    (Positive, [1e-9, 3], [0, -0.1, "1"], "a number above 0"),
    (Share, [0, 0.5, 1], [-0.1, 1.1, 7], "a number from 0 to 1"),
    (ShareBelowOne, [0, 0.5], [1, 1.0, -1], "a number from 0 to below 1"),
    (tuple[Count, ...], [[1, 2]], [[1, 0]], "a list of whole numbers of at least 1"),
    (dict[str, Natural], [{"a": 0}], [{"a": -1}], "a table of whole numbers of at least 0"),
    (TextConfig, [{}, {"vocab_size": 3}], [3, "a", []], "a table"),
]


@pytest.mark.parametrize("kind, right, wrong, told", TYPES)
def test_a_value_of_another_type_is_told(
    kind: Any, right: list[object], wrong: list[object], told: str
) -> None:
    for value in right:
        check_type("size", value, kind, "mine.toml")
    for value in wrong:
        with pytest.raises(UserError) as error:
            check_type("size", value, kind, "mine.toml")
        message = str(error.value)
        assert message.startswith("mine.toml sets 'size' to ") and "\n" not in message
        assert message.endswith(f"; make it {told}.")


def test_a_long_value_is_told_in_part() -> None:
    with pytest.raises(UserError) as error:
        check_type("size", "many\n" * 1_000, int, "mine.toml")
    assert len(str(error.value)) < 120 and "\n" not in str(error.value)


@dataclass(frozen=True)
class _Outer:
    text: TextConfig = field(default_factory=TextConfig)
    sides: tuple[int, ...] = ()
    share: float = 0.5


def test_a_dataclass_is_filled_with_what_fits() -> None:
    made = from_dict(_Outer, {"text": {"vocab_size": 7}, "sides": [1, 2], "share": 1}, "mine.toml")
    assert made == _Outer(TextConfig(7), (1, 2), 1)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"text": {"vocab_size": "7"}}, "'vocab_size' to '7'; make it a whole number"),
        ({"text": 7}, "put a table there"),
        ({"sides": "12"}, "'sides' to '12'; make it a list of whole numbers"),
        ({"share": False}, "'share' to False; make it a number"),
    ]
    for values, told in wrong:
        with pytest.raises(UserError, match=told):
            from_dict(_Outer, values, "mine.toml")
