"""Rows: the positions of the transformer, as one table of columns.

Shapes: N rows, Q = num_codebooks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from quintet.timeline.streams import STREAMS, Modality, Stream

COLUMNS = ("stream", "modality", "tokens", "position", "step")


@dataclass(frozen=True)
class Rows:
    """A table of rows in the order in which the model reads them.

    `tokens` [N, Q] holds the codes of an audio row, or a text or image entry of the unified
    vocabulary in column 0 (the rest is zero). `position` counts rows of the same modality and
    source from the start of the sample, `step` is the time in steps of the clock. The source
    flag follows from the stream.
    """

    stream: np.ndarray  # int8 [N]
    modality: np.ndarray  # int8 [N]
    tokens: np.ndarray  # int32 [N, Q]
    position: np.ndarray  # int32 [N]
    step: np.ndarray  # int32 [N]

    def __len__(self) -> int:
        return len(self.stream)

    @property
    def flag(self) -> np.ndarray:
        """Source flag [N]: 1 where the model made the row."""
        return IS_OUTPUT[self.stream]

    def take(self, index: np.ndarray | slice) -> Rows:
        """The rows at `index`, in its order."""
        return Rows(*(getattr(self, f.name)[index] for f in fields(self)))

    def shifted(self, steps: int, positions: int) -> Rows:
        """The same rows, `steps` later and with positions `positions` further on."""
        return Rows(
            self.stream, self.modality, self.tokens, self.position + positions, self.step + steps
        )


IS_OUTPUT = np.array([STREAMS[stream].is_output for stream in Stream], dtype=np.int8)


def make_rows(
    stream: Stream, modality: Modality, tokens: np.ndarray, position: np.ndarray, step: np.ndarray
) -> Rows:
    """Rows of one stream and modality: `tokens` [N, Q], `position` [N], `step` [N]."""
    count = len(tokens)
    return Rows(
        np.full(count, stream, np.int8),
        np.full(count, modality, np.int8),
        tokens.astype(np.int32),
        np.asarray(position, np.int32),
        np.broadcast_to(np.asarray(step, np.int32), (count,)).copy(),
    )


def concatenate(tables: list[Rows]) -> Rows:
    """Tables one after another."""
    return Rows(*(np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(Rows)))


def single_column(ids: np.ndarray, num_codebooks: int) -> np.ndarray:
    """Text or image entries [N] as `tokens` [N, Q]: column 0, zeros beside it."""
    tokens = np.zeros((len(ids), num_codebooks), np.int32)
    tokens[:, 0] = ids
    return tokens
