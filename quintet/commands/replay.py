"""`quintet replay`: a recorded session again, row for row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from quintet.config import counted
from quintet.live.pretrained import Quintet
from quintet.live.recording import Recording, replay


def replay_file(file: Path, load: Callable[[], Quintet]) -> tuple[str, bool]:
    """What came of it, in words, and whether the session answered as it did.

    Args:
        load: gives the model, on as many threads as the server has; others round otherwise.

    Raises:
        UserError: the file is no recording, or one of another model.
    """
    recording = Recording.load(file)
    found = replay(recording, load())
    rows = sum(len(one.text_image) + len(one.frames) for one in recording.answers)
    steps = len(recording.answers)
    made = f"{counted(rows, 'row')} in {counted(steps, 'step')}"
    if found is None:
        return f"The same to the last row: {made}.", True
    before, after = (_shown(row) for row in (found.recorded, found.replayed))
    return (
        f"Different from step {found.step:,} of {steps:,} on: row {found.at + 1} of the "
        f"{found.stream} stream was {before} and is {after}."
    ), False


def _shown(row: tuple[int, ...] | None) -> str:
    return "none" if row is None else " ".join(map(str, row))
