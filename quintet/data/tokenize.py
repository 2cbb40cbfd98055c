"""Documents -> shards of rows, by any number of workers, each doing one piece after another.

A piece is a run of documents that is a pure function of the source. It gives one shard of each
kind, if there is anything, and then a report, whose presence says that the piece is done. So a
run that was killed, at whatever moment, goes on with the pieces that are missing, and gives the
same bytes. A document that ends its process, as a fault in a decoder does, is found, named and
left out like any other that cannot be read.

    OUT/pretrain/00000.safetensors ... index.json    text and pictures
    OUT/audio/00000.safetensors ... index.json       speech
    OUT/reports/00000.json ...                       what became of each piece
    OUT/report.json, OUT/skipped.jsonl               the whole, and what was left out, and why
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quintet.config import UserError, counted
from quintet.data.raw_rows import Report, RowMaker
from quintet.data.shards import ShardIndex, save_samples, write_durably
from quintet.data.sources.document import Found
from quintet.data.sources.opening import Documents, told
from quintet.data.workers import WorkerDied, Workers
from quintet.timeline.targets import Sample
from quintet.tokenizers.bundle import Tokenizers

PIECE_DOCUMENTS = 256  # of a piece at most
PIECE_BYTES = 64_000_000  # of a piece, unless its first document has more
DEATHS = 2  # of the process that makes a document, until the document is left out
SEEN_SECONDS = 90.0  # after which a file of one machine is seen by the others, at the latest
ABOUT, REPORT, SKIPPED = "about.json", "report.json", "skipped.jsonl"  # in the folder
FATAL = "it ended the process that read it, twice; the file is damaged, or memory was short"


@dataclass(frozen=True)
class Order:
    """What is to be made. `out` goes on only with the same order."""

    source: Path
    out: Path
    model: str
    kinds: tuple[str, ...]
    most_rows: int = 1_024
    piece_documents: int = PIECE_DOCUMENTS


def pieces_of(sizes: np.ndarray, most_documents: int) -> list[range]:
    """Runs of documents of the sizes [D] in bytes, each bounded in number and in bytes."""
    pieces: list[range] = []
    first, total = 0, 0
    for index, size in enumerate(sizes.tolist()):
        if index > first and (index - first == most_documents or total + size > PIECE_BYTES):
            pieces.append(range(first, index))
            first, total = index, 0
        total += size
    pieces.append(range(first, len(sizes)))
    return pieces


class Worker:
    """Makes pieces in one process; the tokenizers are loaded once."""

    def __init__(self, order: Order, documents: Documents) -> None:
        torch.set_num_threads(1)
        self.order, self.documents = order, documents
        self.pieces = pieces_of(documents.sizes, order.piece_documents)
        config, tokenizers = Tokenizers.of_model(order.model)
        self.maker = RowMaker(config, tokenizers, order.most_rows, order.kinds)
        self.fingerprint = tokenizers.fingerprint()

    def make(self, piece: int, left_out: tuple[int, ...] = ()) -> None:
        """Write the shards and the report of a piece; of documents `left_out`, only the names."""
        if _report_path(self.order.out, piece).exists():
            return
        report = Report()
        samples: dict[str, list[Sample]] = {kind: [] for kind in self.order.kinds}
        with _note(self.order.out, piece) as note:
            for index in self.pieces[piece]:
                note(index)
                if index in left_out:
                    report.skip(self.documents.name(index), FATAL)
                else:
                    self._read(index, samples, report)
        for kind, made in samples.items():
            report.samples[kind] = len(made)
            report.rows[kind] = sum(map(len, made))
            if made:
                save_samples(shard_path(self.order.out, kind, piece), made)
        write_durably(_report_path(self.order.out, piece), _json(report.to_dict()))

    def _read(self, index: int, samples: dict[str, list[Sample]], report: Report) -> None:
        report.documents += 1
        try:
            for kind, sample in self.maker.samples(self.documents.read(index), report):
                samples[kind].append(sample)
        except (FileNotFoundError, PermissionError) as error:
            if not self.documents.are_there():
                raise
            report.skip(self.documents.name(index), told(error))
        except (OSError, MemoryError):  # of the machine, not of the document: the piece waits
            raise
        except UserError as error:
            report.skip(self.documents.name(index), str(error))
        except Exception as error:  # whatever a library makes of damaged data
            report.skip(self.documents.name(index), f"{type(error).__name__}: {error}"[:300])


_worker: Worker


def _start(order: Order, documents: Documents, tokenizers: str) -> None:
    global _worker
    _worker = Worker(order, documents)
    if _worker.fingerprint != tokenizers:
        raise UserError(
            f"{platform.node()} has another model {order.model!r} than the machine that asks; "
            "install the same version on all, or name a folder that they share with --model."
        )


def _make(job: tuple[int, tuple[int, ...]]) -> None:
    _worker.make(*job)


def tokenize(
    order: Order, workers: Workers, progress: Callable[[int, int], None] = lambda done, all: None
) -> tuple[Report, Found]:
    """Make what is missing of an order, and the indexes; the report of the whole.

    `progress` is told the pieces that are made, of how many.

    Raises:
        UserError: the source or the model cannot be read, or `order.out` holds something else.
        OSError: the disk is full, or fails; what is done stays, and the same order goes on.
    """
    documents = Documents(order.source)
    config, tokenizers = Tokenizers.of_model(order.model)
    RowMaker(config, tokenizers, order.most_rows, order.kinds)  # what is missing is told here
    pieces = pieces_of(documents.sizes, order.piece_documents)
    order.out.mkdir(parents=True, exist_ok=True)
    with _alone(order.out):
        _check_same(order, documents, tokenizers)
        for left in [*order.out.rglob(".*.partial"), *order.out.rglob("*.at")]:
            left.unlink()  # by a run that was killed
        for folder in ("reports", *order.kinds):
            (order.out / folder).mkdir(exist_ok=True)
        missing = [i for i in range(len(pieces)) if not _report_path(order.out, i).exists()]
        progress(len(pieces) - len(missing), len(pieces))
        if missing:
            given = (order, documents, tokenizers.fingerprint())
            _Run(workers, given, len(pieces), progress).make(missing)
        return _finish(order, len(pieces), documents.found, tokenizers), documents.found


class _Run:
    """The workers of a run, and what is told of those that die."""

    def __init__(
        self, workers: Workers, given: tuple[Order, Documents, str], total: int,
        progress: Callable[[int, int], None],
    ) -> None:  # fmt: skip
        self.workers, self.given, self.total, self.progress = workers, given, total, progress
        self.out = given[0].out

    def make(self, missing: list[int]) -> None:
        while missing:
            try:
                self._together(missing)
            except WorkerDied:
                # What the dead were at, and those that ended with them, is made piece by piece, so
                # that the blame is exact.
                begun = _begun(self.out)
                if not begun:
                    raise _no_beginning() from None
                for piece in begun:
                    self._alone(piece)
                missing = self._missing(missing)
            else:
                return self._wait_for(missing)

    def _together(self, missing: list[int]) -> None:
        done = self.total - len(missing)
        with self.workers.start(_start, *self.given) as each:
            for _ in each(_make, [(piece, ()) for piece in missing]):
                done += 1
                self.progress(done, self.total)

    def _alone(self, piece: int) -> None:
        deaths: dict[int | None, int] = {}
        while self._missing([piece]):
            left_out = tuple(d for d, n in deaths.items() if d is not None and n >= DEATHS)
            try:
                with self.workers.one().start(_start, *self.given) as each:
                    for _ in each(_make, [(piece, left_out)]):
                        self._wait_for([piece])
            except WorkerDied:
                at = _begun(self.out).get(piece)
                deaths[at] = deaths.get(at, 0) + 1
                if deaths.get(None, 0) >= DEATHS:
                    raise _no_beginning() from None

    def _missing(self, pieces: list[int]) -> list[int]:
        return [piece for piece in pieces if not _report_path(self.out, piece).exists()]

    def _wait_for(self, pieces: list[int]) -> None:
        """Until pieces that were made, perhaps on another machine, are seen here."""
        until = time.monotonic() + SEEN_SECONDS
        while missing := self._missing(pieces):
            if time.monotonic() > until:
                raise UserError(
                    f"{counted(len(missing), 'piece')} of the work cannot be seen in {self.out}; "
                    "name a folder that all machines share with --out."
                )
            time.sleep(1)


def _no_beginning() -> UserError:
    return UserError(
        "The processes that make the shards are ended before they begin; see that there is memory "
        "for them, or lower --processes."
    )


def _finish(order: Order, pieces: int, found: Found, tokenizers: Tokenizers) -> Report:
    whole = Report()
    made: dict[str, tuple[list[str], list[int], list[int]]]
    made = {kind: ([], [], []) for kind in order.kinds}
    lines: list[str] = [json.dumps(entry) for entry in found.damaged]
    for piece in range(pieces):
        report = Report(**json.loads(_report_path(order.out, piece).read_text(encoding="utf-8")))
        for kind, (files, samples, rows) in made.items():
            if report.samples[kind]:
                files.append(shard_path(order.out, kind, piece).name)
                samples.append(report.samples[kind])
                rows.append(report.rows[kind])
        whole.add(report)
    lines += [json.dumps(entry) for entry in whole.skipped]
    for kind, (files, samples, rows) in made.items():
        ShardIndex(
            order.out / kind, kind, tokenizers.fingerprint(), tuple(files), tuple(samples),
            sum(rows),
        ).write()  # fmt: skip
    write_durably(order.out / SKIPPED, "".join(line + "\n" for line in lines).encode())
    values = whole.to_dict() | {"skipped": len(lines), "left_out": found.left_out}
    write_durably(order.out / REPORT, _json(values))
    return whole


def shard_path(out: Path, kind: str, piece: int) -> Path:
    return out / kind / f"{piece:05d}.safetensors"


def _report_path(out: Path, piece: int) -> Path:
    return out / "reports" / f"{piece:05d}.json"


def _json(values: Any) -> bytes:
    return (json.dumps(values, indent=1) + "\n").encode()


@contextmanager
def _note(out: Path, piece: int) -> Iterator[Callable[[int], None]]:
    """A function that notes which document a process is at; a process that dies leaves it."""
    path = out / "reports" / f"{piece:05d}.at"
    with path.open("w") as file:

        def note(index: int) -> None:
            os.pwrite(file.fileno(), f"{index:020d}".encode(), 0)

        yield note
    path.unlink(missing_ok=True)  # one that was thought lost may have made the same piece


def _begun(out: Path) -> dict[int, int | None]:
    """Pieces that are not done, and the document at which each of them is."""
    found: dict[int, int | None] = {}
    for path in sorted((out / "reports").glob("*.at")):
        if not _report_path(out, int(path.stem)).exists():
            text = path.read_text()
            found[int(path.stem)] = int(text) if text else None
    return found


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One run at a time writes to a folder; the lock goes with the process, however it ends."""
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another run writes to {out}; wait for its end, or name another folder with --out."
            ) from None
        except OSError:  # a file system that has no locks
            pass
        yield


def _check_same(order: Order, documents: Documents, tokenizers: Tokenizers) -> None:
    about = asdict(order) | {"source": documents.fingerprint, "model": tokenizers.fingerprint()}
    about = json.loads(json.dumps({k: v for k, v in about.items() if k != "out"}))
    path = order.out / ABOUT
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if changed := sorted(k for k in about if about[k] != kept.get(k)):
            raise UserError(
                f"{order.out} was begun with another {changed[0].replace('_', ' ')}; name another "
                "folder with --out, or delete it."
            )
        return
    if any(path.name != ".lock" for path in order.out.iterdir()):
        raise UserError(f"{order.out} holds something else; name another folder with --out.")
    write_durably(path, _json(about))
