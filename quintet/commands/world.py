"""`quintet world`: sets of scenes, made of nothing or cut from recordings, and their pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import track
from rich.table import Table

from quintet.config import UserError, counted
from quintet.data.workers import Each, WorkerDied, Workers
from quintet.data.world.recordings import cut_recordings
from quintet.data.world.scene_files import load_scene, scene_folder
from quintet.data.world.sets import make_in, make_wide_in
from quintet.data.world.writers import (
    TEMPERATURE,
    GrammarWriter,
    ModelWriter,
    Writer,
    endpoint_writer,
)

VIEWED = 64  # scenes that get a page unless --view or --no-view says otherwise
# What is said of scenes that are made: those of recordings are what they are.
OF_MADE = ("--scenes", "--seed", "--split", "--world", "--writer", "--speakers")


def refuse_unheeded(context: click.Context) -> None:
    """Tell who gives an option that would mean nothing beside the others.

    Raises:
        UserError: one of scenes that are made beside --from, or --writer without the wide world.
    """
    given = [
        option.opts[0] for option in context.command.params
        if context.get_parameter_source(str(option.name)) != ParameterSource.DEFAULT
    ]  # fmt: skip
    if "--from" in given and (unheeded := [name for name in OF_MADE if name in given]):
        raise UserError(
            f"Recordings are cut as they are; leave out {' and '.join(unheeded)}, or --from."
        )
    if "--writer" in given and context.params["which"] != "wide":
        raise UserError(
            "Only the wide world has scripts to write; add --world wide, or leave out --writer."
        )


class _Viewer:
    """Writes pages; the model, whose tokenizers give the rows, is loaded with the first."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.encoder: Any = None

    def write(self, folder: Path) -> None:
        import torch

        from quintet.data.scene_rows import SceneEncoder
        from quintet.data.world.view import write_view
        from quintet.live import load

        if self.encoder is None:
            torch.set_num_threads(1)
            model = load(self.model)
            self.encoder = SceneEncoder(model.config, model.tokenizers)
        write_view(load_scene(folder), self.encoder, folder / "view.html", folder.name)


_viewer: _Viewer


def _start(model: str) -> None:
    global _viewer
    _viewer = _Viewer(model)


def _make(
    folder: Path, seed: int, split: str, writer: str | None, speakers: bool, index: int
) -> bool:
    if writer is None:
        return make_in(folder, index, seed, split, speakers)
    return make_wide_in(folder, index, seed, split, _writer(writer), writer, speakers)


@cache
def _writer(name: str) -> Writer:
    """ "grammar", the address of an endpoint with "#" and a model's name behind it, or the name
    or folder of a model of ours."""
    if name == "grammar":
        return GrammarWriter()
    if "://" in name:
        url, _, model = name.partition("#")
        return endpoint_writer(url, model or "default")
    from quintet.live import Sampling, load

    return ModelWriter.of(load(name), Sampling(text_temperature=TEMPERATURE))


def _view(folder: Path, index: int) -> None:
    path = scene_folder(folder, index)
    page, labels = path / "view.html", path / "scene.json"
    if not page.exists() or page.stat().st_mtime < labels.stat().st_mtime:
        _viewer.write(path)


def make_world(
    folder: Path, scenes: int, seed: int, split: str, workers: Workers, view: bool | None,
    model: str, writer: str | None = None, speakers: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Make the scenes of a set that are not there yet, its statistics and its pages.

    Args:
        writer: who writes the scripts of the wide world; None for the world of `nano`.
        speakers: whether the assistant has another's voice in every scene.

    Raises:
        UserError: another set lies in `folder`, or it cannot be written; or as the writer.
    """
    with _started(workers, model) as each:
        make = partial(_make, folder, seed, split, writer, speakers)
        for _ in track(each(make, range(scenes)), "scenes", total=scenes, transient=True):
            pass
        return _finish(folder, scenes, view, each)


def world_from(
    recordings: Path, folder: Path, workers: Workers, view: bool | None, model: str
) -> dict[str, Any]:
    """Cut the recordings below a folder into scenes; statistics and pages as for a made set.

    Raises:
        UserError: there is no recording, or one cannot be read; or as `make_world`.
    """
    count = cut_recordings(recordings, folder)
    with _started(workers, model) as each:
        return _finish(folder, count, view, each)


@contextmanager
def _started(workers: Workers, model: str) -> Iterator[Each]:
    try:
        with workers.start(_start, model) as each:
            yield each
    except WorkerDied:
        raise UserError(
            "A process that makes scenes was killed, perhaps for want of memory; run the same "
            "command again, which keeps what is made, with fewer --processes."
        ) from None


def _finish(folder: Path, count: int, view: bool | None, each: Each) -> dict[str, Any]:
    from quintet.data.world.summary import write_summary

    if view or (view is None and count <= VIEWED):
        pages = each(partial(_view, folder), range(count))
        for _ in track(pages, "pages", total=count, transient=True):
            pass
    return write_summary(folder, count)


def print_statistics(found: dict[str, Any]) -> None:
    """The main ones, as a table."""
    minutes = found["seconds"] / 60
    table = Table("", "", title=f"{counted(found['scenes'], 'scene')}, {minutes:,.1f} minutes")
    table.show_header = False
    length, shares = found["scene_seconds"], found["shares"]
    table.add_row("length", _range(length, "s"))
    table.add_row("requests", _list(found["requests"]))
    table.add_row("typed", f"{found['requests_typed']:,}")
    table.add_row("time", ", ".join(f"{who} {100 * share:.1f} %" for who, share in shares.items()))
    for kind in ("spoken", "typed"):
        table.add_row(f"latency, {kind}", _range(found[f"latency_{kind}"], "s"))
    table.add_row("voices", f"{len(found['voices'])}: {_list(found['voices'], 5)}")
    if (speakers := found["speakers"])["scenes"]:
        names = f"{speakers['distinct']:,} different: {_list(speakers['voices'], 5)}"
        table.add_row("speakers", f"{counted(speakers['scenes'], 'scene')}, {names}")
    for whose in ("said", "answered"):
        words = found[f"words_{whose}"]
        table.add_row(f"words {whose}", f"{words['total']:,}, {words['distinct']:,} different")
    pictures = (found["pictures_shown"], found["pictures_drawn"])
    shown, drawn = (sum(kind.values()) for kind in pictures)
    table.add_row("pictures", f"{shown:,} shown, {drawn:,} drawn, of {len(pictures[0])} and "
                              f"{counted(len(pictures[1]), 'thing')}")  # fmt: skip
    table.add_row("backgrounds", _list(found["backgrounds"]))
    if "quiet_seconds" in found:
        table.add_row(
            "silence is right", f"{found['quiet_seconds']:,.1f} s: {_list(found['quiet'])}"
        )
        table.add_row("interrupted", counted(found["interrupted"], "answer"))
    Console().print(table)


def _list(counts: dict[str, int], most: int = 12) -> str:
    shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:most])
    return shown + (", ..." if len(counts) > most else "")


def _range(numbers: dict[str, float], unit: str) -> str:
    if not numbers["n"]:
        return "none"
    return (
        f"{numbers['mean']:.2f} {unit} in the mean, {numbers['least']:.2f} to "
        f"{numbers['most']:.2f} (middle {numbers['p50']:.2f})"
    )
