"""Who may see whom, written once, as an expression of three columns.

In the interleaved form the live order makes the mask plainly causal; columns are needed where
rows lie in another order (the concatenated streams), where a window slides over them, or where
several samples share one line. Rows of the system prompt (a speaker's voice; see
`Timeline.add_speaker`) lie before step 0 and never leave the window. The expression indexes its
columns with whatever it is given: whole grids make the dense mask that a CPU takes, single indices
the blocks that a GPU's kernel skips. True means "may see".

Shapes: B lines of a batch, N rows of a line, as queries and keys.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from quintet.timeline.rows import Rows
from quintet.timeline.timeline import live_rank

FOREVER = 1 << 30  # steps: a window that nothing leaves
NOBODY = -1  # the document of rows that only fill up a line


@dataclass(frozen=True)
class Sight:
    """The columns [B, N], as NumPy arrays or as tensors, and the window."""

    rank: Any  # place in the order in which rows see one another
    step: Any
    document: Any  # which sample a row belongs to
    window_steps: int = FOREVER  # a row's own step counted

    def may_see(self, line: Any, query: Any, key: Any) -> Any:
        """Whether row `query` of `line` sees row `key`: itself and what came before, of its own
        sample, inside the window or in the system prompt."""
        past = self.rank[line, key] <= self.rank[line, query]
        same = self.document[line, key] == self.document[line, query]
        near = self.step[line, query] - self.step[line, key] < self.window_steps
        return past & same & (near | (self.step[line, key] < 0))

    def dense(self) -> np.ndarray:
        """bool [B, N, N], of NumPy columns."""
        batch, rows = self.rank.shape
        seen: np.ndarray = self.may_see(*np.ogrid[:batch, :rows, :rows])
        return seen

    def take(self, lines: slice) -> Sight:
        """Of some of the lines."""
        columns = {name: column[lines] for name, column in self.columns().items()}
        return Sight(**columns, window_steps=self.window_steps)

    def columns(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "window_steps"}


def line_sight(
    lines: list[list[Rows]], window_steps: int = FOREVER, longest: int | None = None
) -> Sight:
    """Of lines of samples, each sample's rows in the order in which the model reads them; padded
    to `longest` rows, or to those of the longest."""
    longest = longest or max(sum(map(len, line)) for line in lines)
    shape = (len(lines), longest)
    step, document = np.zeros(shape, np.int64), np.full(shape, NOBODY, np.int64)
    for index, line in enumerate(lines):
        start = 0
        for number, rows in enumerate(line):
            end = start + len(rows)
            step[index, start:end], document[index, start:end] = rows.step, number
            start = end
    rank = np.broadcast_to(np.arange(longest), shape).copy()
    return Sight(rank, step, document, window_steps)


def live_sight(rows: Rows, window_steps: int = FOREVER) -> Sight:
    """Of one table of live rows in any order, such as stream after stream."""
    rank, document = live_rank(rows), np.zeros(len(rows), np.int64)
    step = rows.step.astype(np.int64)
    return Sight(rank[None], step[None], document[None], window_steps)


def live_mask(rows: Rows, window_steps: int = FOREVER) -> np.ndarray:
    """bool [N, N] of the same: no output sees the input of its own step, nothing its future."""
    mask: np.ndarray = live_sight(rows, window_steps).dense()[0]
    return mask
