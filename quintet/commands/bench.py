"""`quintet bench`: the benchmarks lie beside the package, in a checkout of the project."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from quintet.config import UserError

CHECKOUT = Path(__file__).parent.parent.parent
# Options, and the benchmarks that take them.
BELONGS = {
    "speech": ("codec-quality",), "sessions": ("serve",), "minutes": ("serve", "page"),
    "fast": ("serve",),
}  # fmt: skip


def run_benchmark(what: str, model: str, **options: Any) -> list[dict[str, Any]]:
    """Run `benchmarks/WHAT.py`, print its table; rows {"name", "unit", "value", "peer", "ratio"}.

    Args:
        options: of `BELONGS`; those that are None or False were not given.

    Raises:
        UserError: an option of another benchmark, Quintet was installed without its benchmarks,
            or a peer is missing.
    """
    options = {name: value for name, value in options.items() if value not in (None, False)}
    for name in options:
        if what not in BELONGS[name]:
            its = " and ".join(BELONGS[name])
            raise UserError(f"bench {what} takes no --{name}; it belongs to {its}.")
    what = what.replace("-", "_")
    if not (CHECKOUT / "benchmarks" / f"{what}.py").is_file():
        raise UserError(
            "The benchmarks are not installed with the package; run this in a checkout of the "
            "project, after pip install -e ."
        )
    if str(CHECKOUT) not in sys.path:
        sys.path.insert(0, str(CHECKOUT))
    try:
        run = importlib.import_module(f"benchmarks.{what}").run
        rows: list[dict[str, Any]] = run(model, **options)
    except ModuleNotFoundError as error:
        raise UserError(
            f"This benchmark needs the package {error.name}; install the extras of development "
            "and quality: pip install -c constraints.txt -e '.[dev,quality]'"
        ) from None
    _print(rows, what)
    return rows


def _print(rows: list[dict[str, Any]], what: str) -> None:
    table = Table("", "unit", "value", "peer or limit", "ratio", title=f"bench {what}")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        numbers = ("" if row[key] is None else f"{row[key]:,.3g}" for key in ("peer", "ratio"))
        value = row["value"]
        table.add_row(row["name"], row["unit"], f"{value:,.4g}", *numbers)
    Console().print(table)
