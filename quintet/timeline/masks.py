"""Who may see whom, computed from (step, in/out, stream, position) alone.

The concatenated form needs these masks; in the interleaved form the live order makes the same
mask plainly causal, so only the window is left of it. True means "may see".

Shapes: N rows, as queries (first axis) and keys (second).
"""

from __future__ import annotations

import numpy as np

from quintet.timeline.rows import Rows
from quintet.timeline.timeline import live_rank


def window_mask(
    step: np.ndarray, window_steps: int, prefix: np.ndarray | None = None
) -> np.ndarray:
    """[N, N]: keys of the last `window_steps` steps (the query's own counted), and the prefix.

    `prefix` [N] marks the rows of the system prompt, which never leave the window.
    """
    near = step[:, None] - step[None, :] < window_steps
    return near if prefix is None else near | prefix[None, :]


def live_mask(rows: Rows, window_steps: int, prefix: np.ndarray | None = None) -> np.ndarray:
    """[N, N] for rows in any order, such as stream after stream.

    A row sees itself and the rows before it in live order, inside the window: no output sees
    the input of its own step, and nothing sees its future.
    """
    rank = live_rank(rows)
    return (rank[None, :] <= rank[:, None]) & window_mask(rows.step, window_steps, prefix)
