"""Many samples in one line: what a GPU's attention kernel is fast on, and wastes no padding.

A CPU is faster on a batch of padded samples of like lengths; there nothing is packed. Where several
devices share a line, its rows are dealt to them, `RUN` after `RUN` in turn: questions gather at the
ends of samples, so that of consecutive pieces one would have most of the heads' work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quintet.timeline.targets import Sample

if TYPE_CHECKING:
    from torch import Tensor

RUN = 16  # consecutive rows that stay together, so that no step's period meets that of dealing


def pack(samples: Sequence[Sample], rows: int) -> list[list[Sample]]:
    """Lines of at most `rows` rows: the longest samples first, each into the first line that has
    room (a sample that is longer has a line of its own, and with 0 rows all have)."""
    lines: list[list[Sample]] = []
    lengths: list[int] = []
    for sample in sorted(samples, key=len, reverse=True):
        fits = (i for i, length in enumerate(lengths) if length + len(sample) <= rows)
        index = next(fits, len(lines))
        if index == len(lines):
            lines.append([])
            lengths.append(0)
        lines[index].append(sample)
        lengths[index] += len(sample)
    return lines


def padded(rows: int, pieces: int) -> int:
    """How long a line of so many rows must be to be dealt in equal pieces."""
    return rows if pieces == 1 else -(-rows // (pieces * RUN)) * pieces * RUN


def dealt(x: Tensor, dim: int, pieces: int) -> Tensor:
    """The pieces [pieces, ...] of lines whose rows are `dim` of `x`; as they are, if it is one."""
    if pieces == 1:
        return x[None]
    return x.unflatten(dim, (-1, pieces, RUN)).movedim(dim + 1, 0).flatten(dim + 1, dim + 2)


def gathered(x: Tensor, dim: int) -> Tensor:
    """And back, of two pieces and more: lines whose rows are `dim`, of pieces [pieces, ...]."""
    return x.unflatten(dim + 1, (-1, RUN)).movedim(0, dim + 1).flatten(dim, dim + 2)
