"""Shards of a person's data: the same bytes however they were made, and nothing lost that was
told."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run
from raw import png, write_heap, write_lines

from quintet.config import UserError
from quintet.data import tokenize as module
from quintet.data.shards import ShardIndex, Shards
from quintet.data.sources import document
from quintet.data.sources.document import Document
from quintet.data.sources.opening import Documents
from quintet.data.tokenize import Order, pieces_of, tokenize
from quintet.data.workers import Each, Here, Processes

KINDS = ("pretrain",)
HERE = Here()  # starting other processes takes seconds


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    write_heap(tmp_path / "heap")
    return tmp_path / "heap"


def _order(heap: Path, out: Path, model: Path, **more: object) -> Order:
    values = {"kinds": KINDS, "most_rows": 64, "piece_documents": 3} | more
    return Order(heap, out, str(model), **values)  # type: ignore[arg-type]


def _bytes(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_pieces_are_bounded_in_number_and_bytes_and_leave_nothing_out() -> None:
    sizes = np.array([10, 70_000_000, 10, 10, 30_000_000, 30_000_000, 30_000_000, 1, 1, 1])
    pieces = pieces_of(sizes, 3)
    assert [i for piece in pieces for i in piece] == list(range(10))
    assert pieces == [range(0, 1), range(1, 2), range(2, 5), range(5, 8), range(8, 10)]


def test_everything_is_told_and_a_second_run_changes_nothing(
    heap: Path, tmp_path: Path, model_folder: Path
) -> None:
    out = tmp_path / "out"
    told: list[tuple[int, int]] = []
    report, found = tokenize(_order(heap, out, model_folder), HERE, lambda *done: told.append(done))
    index = ShardIndex.read(out / "pretrain")
    samples = list(Shards(index))
    assert len(samples) == report.samples["pretrain"] > 20
    assert sum(map(len, samples)) == report.rows["pretrain"] == index.rows
    skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    names = " ".join(entry["name"] for entry in skipped)
    assert len(skipped) == 7 and all(entry["why"] for entry in skipped)
    for name in ("latin.txt", "broken.jpg", "line 6", "line 7", "line 8", "/d.png", "/e"):
        assert name in names
    assert json.loads((out / "report.json").read_text())["missing_pictures"] == 3
    assert found.left_out == {".pdf": 1, ".cls": 1}
    before = _bytes(out)
    assert tokenize(_order(heap, out, model_folder), HERE)[0] == report
    assert _bytes(out) == before


def test_a_folder_goes_on_only_with_the_same_order(
    heap: Path, tmp_path: Path, model_folder: Path
) -> None:
    out = tmp_path / "out"
    tokenize(_order(heap, out, model_folder), HERE)
    with pytest.raises(UserError, match="begun with another most rows"):
        tokenize(_order(heap, out, model_folder, most_rows=65), HERE)
    (heap / "more.txt").write_text("hello.")
    with pytest.raises(UserError, match="begun with another source"):
        tokenize(_order(heap, out, model_folder), HERE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="holds something else"):
        tokenize(_order(heap, tmp_path / "mine", model_folder), HERE)


def test_two_runs_do_not_write_to_one_folder(
    heap: Path, tmp_path: Path, model_folder: Path
) -> None:
    (tmp_path / "out").mkdir()
    with (
        module._alone(tmp_path / "out"),
        pytest.raises(UserError, match="Another run writes"),
    ):
        tokenize(_order(heap, tmp_path / "out", model_folder), HERE)


class _Elsewhere(Here):
    """Workers who say that they have done what nobody sees."""

    @contextmanager
    def start(self, prepare: Callable[..., None], *given: Any) -> Iterator[Each]:
        yield lambda act, jobs: map(lambda job: None, jobs)


def test_a_folder_that_other_machines_do_not_share_is_told(
    heap: Path, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEEN_SECONDS", 0)
    with pytest.raises(UserError, match="that all machines share"):
        tokenize(_order(heap, tmp_path / "out", model_folder), _Elsewhere())


def test_a_worker_with_another_model_makes_nothing(
    heap: Path, tmp_path: Path, model_folder: Path
) -> None:
    order = _order(heap, tmp_path / "out", model_folder)
    with pytest.raises(UserError, match="has another model"):
        module._start(order, Documents(heap), "another")


def _command(order: Order, processes: int) -> list[str]:
    return [
        sys.executable, "-m", "quintet", "tokenize", str(order.source), "--out", str(order.out),
        "--model", order.model, "--kind", order.kinds[0], "--rows", str(order.most_rows),
        "--documents", str(order.piece_documents), "--processes", str(processes),
    ]  # fmt: skip


def _slow_heap(folder: Path) -> None:
    """Some seconds of work, in a hundred documents."""
    folder.mkdir()
    for index in range(4):
        (folder / f"{index}.png").write_bytes(png(index, (300, 300)))
    write_lines(folder / "web.jsonl", [
        {"texts": [f"page {n}.", *[None] * 8], "images": [None, *[f"{n % 4}.png"] * 8]}
        for n in range(100)
    ])  # fmt: skip


def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(
    tmp_path: Path, model_folder: Path
) -> None:
    heap = tmp_path / "heap"
    _slow_heap(heap)
    killed = _order(heap, tmp_path / "killed", model_folder, piece_documents=4)
    moments = random.Random(3)
    seen, deaths = set[str](), 0
    for processes in (2, 1, 2):
        process = subprocess.Popen(
            _command(killed, processes), start_new_session=True, stdout=subprocess.DEVNULL
        )
        before = set(seen)
        while process.poll() is None and seen == before:  # until there is something to lose
            time.sleep(0.01)
            seen |= {path.name for path in (killed.out / "reports").glob("*.json")}
        time.sleep(moments.uniform(0, 0.5))
        deaths += process.poll() is None
        # The one that was started; its workers must find out by themselves.
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert deaths >= 1
    whole = _order(heap, tmp_path / "whole", model_folder, piece_documents=4)
    for order in (killed, whole):
        tokenize(order, HERE)
    assert _bytes(killed.out) == _bytes(whole.out)


DEADLY = """
import io, os, signal
import PIL.Image
opened = PIL.Image.open
def open_or_die(file, *given, **named):
    if isinstance(file, io.BytesIO) and file.getvalue().startswith(b"DEADLY"):
        os.kill(os.getpid(), signal.SIGKILL)
    return opened(file, *given, **named)
PIL.Image.open = open_or_die
"""


def test_a_document_that_kills_its_process_is_found_named_and_left_out(
    heap: Path, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a fault in a decoder does, or memory that ran out."""
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    order = _order(heap, tmp_path / "out", model_folder, piece_documents=20)
    whole, _ = tokenize(_order(heap, tmp_path / "whole", model_folder), HERE)
    (heap / "evil.png").write_bytes(b"DEADLY")
    report, _ = tokenize(order, Processes(1))
    assert report.samples == whole.samples
    entry = next(entry for entry in report.skipped if entry["name"].endswith("evil.png"))
    assert "ended the process" in entry["why"]
    assert not list((tmp_path / "out").rglob("*.at"))


def test_a_disk_that_fails_is_no_fault_of_the_document(
    tmp_path: Path, heap: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, read = _order(heap, tmp_path / "out", model_folder), Documents.read

    def fails(self: Documents, index: int) -> Document:
        if index == 4:
            raise OSError(errno.EIO, "Input/output error")
        return read(self, index)

    monkeypatch.setattr(Documents, "read", fails)
    with pytest.raises(OSError, match="Input/output"):
        tokenize(order, HERE)
    monkeypatch.undo()
    tokenize(order, HERE)
    whole = _order(heap, tmp_path / "whole", model_folder)
    tokenize(whole, HERE)
    assert _bytes(order.out) == _bytes(whole.out)


def test_a_file_that_is_gone_or_closed_is_skipped_counted_and_named(
    tmp_path: Path, heap: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = tokenize(_order(heap, tmp_path / "whole", model_folder), HERE)
    order, opened = _order(heap, tmp_path / "out", model_folder), document._Part.__init__

    def closed(self: Any, path: Path, *given: Any) -> None:
        if path.name == "cat.png":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        opened(self, path, *given)

    def listed(place: Path) -> Documents:
        found = Documents(place)
        (place / "notes.txt").unlink()
        return found

    monkeypatch.setattr(document._Part, "__init__", closed)
    monkeypatch.setattr(module, "Documents", listed)
    report, _ = tokenize(order, HERE)
    assert report.documents == whole.documents
    why = {entry["name"]: entry["why"] for entry in report.skipped}
    for name, told in (("notes.txt", "No such file"), ("cat.png", "Permission denied")):
        (sentence,) = {why[n] for n in why if n.split(" + ")[0] == str(heap / name)}
        assert str(heap / name) in sentence and told in sentence
    assert len(report.skipped) > len(whole.skipped)


@pytest.mark.parametrize("empty", [False, True])
def test_a_source_that_a_machine_does_not_see_is_no_fault_of_its_documents(
    empty: bool, tmp_path: Path, heap: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where it is an empty folder, as a place is at which nothing is mounted."""

    def listed(place: Path) -> Documents:
        found = Documents(place)
        place.rename(tmp_path / "elsewhere")
        if empty:
            place.mkdir()
        return found

    monkeypatch.setattr(module, "Documents", listed)
    with pytest.raises(FileNotFoundError):
        tokenize(_order(heap, tmp_path / "out", model_folder), HERE)


def test_a_full_disk_is_told_in_a_sentence_and_the_same_command_goes_on(
    tmp_path: Path, model_folder: Path
) -> None:
    heap = tmp_path / "heap"
    _slow_heap(heap)
    write_lines(heap / "a.jsonl", [{"text": "hello. " * 40_000}])  # whose shard is too large
    order = _order(heap, tmp_path / "out", model_folder, piece_documents=8)

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(
        _command(order, 1), preexec_fn=little_room, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "File too large" in done.stderr
    tokenize(order, HERE)
    whole = _order(heap, tmp_path / "whole", model_folder, piece_documents=8)
    tokenize(whole, HERE)
    assert _bytes(order.out) == _bytes(whole.out)


def test_the_remedy_of_a_damaged_shard_makes_it_again(
    heap: Path, tmp_path: Path, model_folder: Path
) -> None:
    order = _order(heap, tmp_path / "out", model_folder)
    tokenize(order, HERE)
    before = _bytes(order.out)
    shard = order.out / "pretrain" / ShardIndex.read(order.out / "pretrain").files[1]
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(UserError, match="is missing or damaged") as told:
        list(Shards(ShardIndex.read(order.out / "pretrain")))
    assert str(shard) in str(told.value)
    Path(str(told.value).split("delete ")[1].split(" ")[0]).unlink()
    tokenize(order, HERE)
    assert _bytes(order.out) == before


def test_mistakes_are_told_in_a_sentence(
    heap: Path, tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "out", ("--model", model_folder)
    for arguments, told in (
        ((tmp_path / "gone", "--out", out, *model), "There is no"),
        ((heap, "--out", heap / "out", *model), "lies in the source"),
        ((heap, "--out", heap / "cat.png", *model), "is a file"),
        ((heap, "--out", out, "--rows", 9, *model), "raise --rows"),
        ((heap, "--out", out, "--model", "nobody"), "There is no model"),
    ):
        assert run("tokenize", *arguments) == 2
        error = capsys.readouterr().err
        assert told in error and len(error.splitlines()) == 1


def test_a_folder_that_is_not_there_is_told_before_a_library_is_missed(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    for place, told in ((tmp_path / "gone", "There is no"), (tmp_path, "silero-vad")):
        (tmp_path / "a.txt").write_text("hello.", encoding="utf-8")
        with pytest.raises(UserError, match=told):
            tokenize(_order(place, tmp_path / "out", model_folder, kinds=("audio",)), HERE)
