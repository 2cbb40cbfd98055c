"""Settings in files: of which type and range each is, and what a person is told who mistook one.

Nothing here imports another part of Quintet.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class UserError(ValueError):
    """Bad input from a person: one clear sentence that ends with the remedy."""


def counted(number: int, thing: str) -> str:
    """What a person is told of a number of things, such as "1 code" and "12,288 codes"."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


@dataclass(frozen=True)
class Range:
    """Beside the type of a setting: which of its numbers make sense."""

    least: float
    most: float = math.inf
    without_least: bool = False
    without_most: bool = False

    def __contains__(self, value: float) -> bool:
        enough = value > self.least if self.without_least else value >= self.least
        return enough and (value < self.most if self.without_most else value <= self.most)

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"{'above' if self.without_least else 'of at least'} {self.least:,}"
        return f"from {self.least:,} to {'below ' * self.without_most}{self.most:,}"


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Positive = Annotated[float, Range(0, without_least=True)]
Weight = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
ShareBelowOne = Annotated[float, Range(0, 1, without_most=True)]
Seed = Annotated[int, Range(0, 2**31)]

# What a person is told to write where a value of such a type belongs: one of them, and several.
IN_WORDS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text in quotes", "texts in quotes"),
    bool: ("true or false", "values true or false"),
}


def from_dict(kind: type[T], values: dict[str, Any], where: str) -> T:
    """Fill dataclass `kind` from nested dictionaries; lists become tuples.

    Raises:
        UserError: a key that `kind` does not have, or a value of another type than it has there;
            `where` names the file in the message.
    """
    if not isinstance(values, dict):
        raise UserError(
            f"{where} holds {str(values)[:40]!r} where the settings of {kind.__name__} belong; "
            "put a table there."
        )
    hints = get_type_hints(kind, include_extras=True)
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    filled: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise UserError(
                f"{where} sets {key!r}, which {kind.__name__} does not have; "
                f"use one of: {', '.join(known)}."
            )
        if dataclasses.is_dataclass(hints[key]):
            value = from_dict(hints[key], value, where)  # type: ignore[arg-type]
        else:
            check_type(key, value, hints[key], where)
        filled[key] = tuple(value) if isinstance(value, list) else value
    return kind(**filled)


def check_type(key: str, value: Any, kind: Any, where: str) -> None:
    """Compare what a TOML or JSON file sets `key` to with the annotation `kind` of that setting:
    a plain type or one with its `Range`, a dataclass (a table), a `tuple`, a `dict` by names, or a
    `Literal`. A whole number is a number too; true and false are neither.

    Raises:
        UserError: it is of another type or out of range; `where` names the file in the message.
    """
    if not _fits(value, kind):
        raise UserError(f"{where} sets {key!r} to {value!r:.40}; make it {in_words(kind)}.")


def _fits(value: Any, kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _fits(value, parts[0]) and value in parts[1]
    if origin is Literal:
        return value in parts
    if origin is tuple:
        whole = isinstance(value, list | tuple)
        kinds = parts[:1] * len(value) if whole and parts[-1] is ... else parts
        return whole and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(inner, parts[1]) for inner in value.values())
    if dataclasses.is_dataclass(kind):
        return isinstance(value, dict)
    if isinstance(value, bool):  # which Python counts among the whole numbers
        return kind is bool
    if kind is float:
        return isinstance(value, int | float) and abs(value) < math.inf
    return isinstance(value, kind)


def in_words(kind: Any, several: bool = False) -> str:
    """What a setting of this type is written as: "a whole number of at least 1"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"{in_words(parts[0], several)} {parts[1]}"
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple:
        count = "" if parts[-1] is ... else f"{len(parts)} "
        return f"a list of {count}{in_words(parts[0], True)}"
    if origin is dict:
        return f"a table of {in_words(parts[1], True)}"
    return "a table" if dataclasses.is_dataclass(kind) else IN_WORDS[kind][several]


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UserError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}; check the name.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a TOML file ({error}); mend or replace it.") from None
