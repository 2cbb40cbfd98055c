"""Samples on disk: one safetensors file holds many, columns end to end, and a digest of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from quintet.config import UserError
from quintet.timeline.rows import COLUMNS, Rows, make_rows
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import Sample, Vocabulary, join, next_row_sample
from quintet.whole_file import whole_file

DIGEST = "sha256"  # in the file's metadata
INDEX = "index.json"  # of a finished folder of shards: their names and sizes, who made them
ROWS_AT_ONCE = 1 << 16  # that a digest of a file has in memory
OPEN = 64  # shards whose files stay open, the last that were used
NOTHING = next_row_sample(  # what a shard without a sample holds
    make_rows(Stream.TEXT_IN, Modality.TEXT, np.zeros((0, 1)), np.zeros(0), np.asarray(0)),
    Vocabulary(1, 1),
)


def save_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write atomically, to the disk; codes and targets fit 32 bits, most columns 16 or 8."""
    whole = join(list(samples) or [NOTHING])
    columns = {
        "stream": whole.rows.stream,
        "modality": whole.rows.modality,
        "tokens": whole.rows.tokens,
        "position": whole.rows.position,
        "step": whole.rows.step,
        "text_target": whole.text_target,
        "audio_target": whole.audio_target,
        "lengths": np.array([len(sample) for sample in samples], np.int32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, save(columns, {DIGEST: _digest(columns)}))


def write_durably(path: Path, content: bytes) -> None:
    """The file appears whole or not at all, and stays if the machine fails."""
    with whole_file(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def load_samples(path: Path) -> list[Sample]:
    """Read what `save_samples` wrote; every sample knows where it comes from.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with safe_open(path, "np") as file:
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            written = (file.metadata() or {}).get(DIGEST)
    except SafetensorError:
        columns, written = {}, None
    if written != _digest(columns):
        raise UserError(
            f"{path} is damaged; delete it, and scores.json of its stage, and run that stage "
            f"({path.parent.parent.name}) again, which makes what is missing."
        )
    shard = f"{path.parent.name}/{path.name}"
    ends = np.cumsum(columns["lengths"])
    samples = []
    for index, (end, length) in enumerate(zip(ends, columns["lengths"], strict=True)):
        part = {name: column[end - length : end] for name, column in columns.items()}
        rows = Rows(*(part[n] for n in COLUMNS))
        samples.append(Sample(rows, part["text_target"], part["audio_target"], (shard, index)))
    return samples


def _digest(columns: dict[str, Any]) -> str:
    """Of arrays, or of those in an open file, which are read a part at a time."""
    total = hashlib.sha256()
    for name, column in sorted(columns.items()):
        shape = column.shape if isinstance(column, np.ndarray) else tuple(column.get_shape())
        total.update(f"{name} {column[0:0].dtype} {shape}".encode())
        for start in range(0, shape[0], ROWS_AT_ONCE):
            end = min(start + ROWS_AT_ONCE, shape[0])
            total.update(np.ascontiguousarray(column[start:end]).data)
    return total.hexdigest()


@dataclass(frozen=True)
class ShardIndex:
    """What `index.json` says of a folder of shards."""

    folder: Path
    kind: str
    tokenizers: str  # the fingerprint of those that made the rows
    files: tuple[str, ...]
    samples: tuple[int, ...]  # of each file
    rows: int  # of all

    @classmethod
    def read(cls, folder: Path) -> ShardIndex:
        """The index of a finished folder.

        Raises:
            UserError: there is none, or it is damaged.
        """
        path = folder / INDEX
        if not path.is_file():
            inner = sorted(p.parent.name for p in folder.glob(f"*/{INDEX}"))
            if inner:
                raise UserError(
                    f"{folder} has shards of several kinds; name one of its folders: "
                    f"{', '.join(inner)}."
                )
            raise UserError(
                f"{folder} holds no finished shards; make them with quintet tokenize, or run it "
                "again to its end."
            )
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            shards = values["shards"]
            return cls(
                folder, values["kind"], values["tokenizers"],
                tuple(str(shard["file"]) for shard in shards),
                tuple(int(shard["samples"]) for shard in shards), int(values["rows"]),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path} is damaged; run quintet tokenize again.") from None

    def write(self) -> None:
        shards = zip(self.files, self.samples, strict=True)
        values: dict[str, Any] = {
            "kind": self.kind,
            "tokenizers": self.tokenizers,
            "samples": sum(self.samples),
            "rows": self.rows,
            "shards": [{"file": file, "samples": count} for file, count in shards],
        }
        write_durably(self.folder / INDEX, (json.dumps(values, indent=1) + "\n").encode())


class _Shard:
    """An open shard: the file is mapped into memory, and of it only what is asked for is read.

    Args:
        count: of samples, as the index says.
        check: whether to read all of it once, a part at a time, to compare the digest.

    Raises:
        UserError: it is missing or damaged.
    """

    def __init__(self, path: Path, count: int, check: bool) -> None:
        self._name = f"{path.parent.name}/{path.name}"
        try:
            self._file = safe_open(path, "numpy")
            self.lengths: np.ndarray = self._file.get_tensor("lengths")
            whole = len(self.lengths) == count and (not check or self._is_as_written())
        except (SafetensorError, FileNotFoundError):
            whole = False
        if not whole:
            report = path.parent.parent / "reports" / f"{path.stem}.json"
            raise UserError(
                f"{path} is missing or damaged; delete {report} and run the same quintet tokenize "
                "again, which makes what is missing."
            )
        self._ends = np.cumsum(self.lengths, dtype=np.int64)

    def _is_as_written(self) -> bool:
        slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118
        return bool((self._file.metadata() or {}).get(DIGEST) == _digest(slices))

    def sample(self, index: int) -> Sample:
        end = int(self._ends[index])
        rows = slice(end - int(self.lengths[index]), end)
        part = {
            name: self._file.get_slice(name)[rows]
            for name in (*COLUMNS, "text_target", "audio_target")
        }
        table = Rows(*(part[name] for name in COLUMNS))
        return Sample(table, part["text_target"], part["audio_target"], (self._name, index))


class Shards(Sequence[Sample]):
    """The samples of a folder, read when they are asked for: however many there are, what stays
    in memory is the number of samples of each shard, and the lengths in those that are open.

    When it is first opened, a shard is read whole, a part at a time, to see that it is as it was
    written: about a second of a core for a gigabyte, or 20 million rows of nano's, beside what the
    disk takes; in each process of a run, and again when it goes on.

    Not for several threads at once.
    """

    def __init__(self, about: ShardIndex, first: int = 0, last: int | None = None) -> None:
        self.about = about
        self._ends = np.cumsum(about.samples, dtype=np.int64)
        total = int(self._ends[-1]) if len(self._ends) else 0
        self._first, self._last = first, total if last is None else last
        assert 0 <= self._first <= self._last <= total
        self._open: OrderedDict[int, _Shard] = OrderedDict()
        self._checked: set[int] = set()

    def __len__(self) -> int:
        return self._last - self._first

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        shard, inner = self._find(index % len(self))
        return shard.sample(inner)

    def length(self, index: int) -> int:
        """Rows of a sample, without reading it."""
        shard, inner = self._find(index)
        return int(shard.lengths[inner])

    def place(self, index: int) -> tuple[str, int]:
        """Shard and place in it, without opening it."""
        which, inner = self._shard_of(index)
        return f"{self.about.folder.name}/{self.about.files[which]}", inner

    def _shard_of(self, index: int) -> tuple[int, int]:
        place = self._first + index
        which = int(np.searchsorted(self._ends, place, side="right"))
        return which, place - int(self._ends[which]) + self.about.samples[which]

    def _find(self, index: int) -> tuple[_Shard, int]:
        which, inner = self._shard_of(index)
        if which not in self._open:
            path, count = self.about.folder / self.about.files[which], self.about.samples[which]
            self._open[which] = _Shard(path, count, which not in self._checked)
            self._checked.add(which)
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(which)
        return self._open[which], inner
