"""`quintet tokenize`: the order, the progress, and the line that says what became of the data."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from quintet.config import UserError, counted
from quintet.data.raw_rows import KINDS, Report
from quintet.data.sources.document import Found
from quintet.data.tokenize import REPORT, SKIPPED, Order, tokenize
from quintet.data.workers import Workers


def run_tokenize(
    source: Path, out: Path, model: str, kind: str, rows: int, documents: int, workers: Workers
) -> str:
    """Make the shards; one line for each kind, and one for what was left out.

    Raises:
        UserError: the source or the model cannot be read, or `out` holds something else.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder with --out.")
    if out.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{out} lies in the source; name a folder outside of it with --out.")
    kinds = KINDS if kind == "all" else (kind,)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("shards", total=None)

        def progress(done: int, all: int) -> None:
            bar.update(task, completed=done, total=all)

        order = Order(source, out, model, kinds, rows, documents)
        report, found = tokenize(order, workers, progress)
    return "\n".join([*(_told(report, out, name) for name in kinds), _left_out(report, found, out)])


def _told(report: Report, out: Path, kind: str) -> str:
    samples, rows = counted(report.samples[kind], "sample"), counted(report.rows[kind], "row")
    if kind == "audio":
        found = f"{report.speech_seconds:,.1f} s of speech in {report.heard_seconds:,.1f} s"
        return f"{out / kind}: {samples}, {rows}; {found} of {counted(report.sounds, 'sound')}"
    of = f"{counted(report.documents, 'document')}, {counted(report.characters, 'character')}"
    return f"{out / kind}: {samples}, {rows}; {of}, {counted(report.pictures, 'picture')}"


def _left_out(report: Report, found: Found, out: Path) -> str:
    skipped = len(report.skipped) + len(found.damaged)
    other = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(found.left_out.items()))
    return (
        f"Left out: {skipped:,} damaged, {counted(report.missing_pictures, 'missing picture')}"
        f"{', of other kinds ' + other if other else ''}; see {out / REPORT} and {out / SKIPPED}"
    )
