"""What a person watches a run by: the log, a picture of it, TensorBoard, Weights & Biases.

The log is the record. A run that goes on cuts it where its checkpoint stands and makes everything
else from it, so that no step is told twice, however often a run is killed.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quintet.config import counted
from quintet.whole_file import write_whole

LOG = "log.jsonl"
PICTURE = "losses.png"
BOARD = "tensorboard"  # a folder
RUN_ID = "wandb-id.txt"
SAMPLES = "samples"  # what a person may see or hear, by step
PROJECT = "quintet"  # of Weights & Biases

Values = dict[str, Any]  # numbers by name; words say what is wrong


class Loggers:
    """The log of the run in `folder`, from `step` on, and the `sinks` beside it: "tensorboard",
    "wandb". Only the process that leads has one that writes."""

    def __init__(
        self,
        folder: Path,
        name: str,
        step: int,
        sinks: Sequence[str],
        settings: Values,
        leads: bool,
    ) -> None:
        self.folder, self.name, self.leads = folder, name, leads
        self.board: Any = None
        self.remote: Any = None
        if not leads:
            return
        folder.mkdir(parents=True, exist_ok=True)
        kept = _cut(folder / LOG, step)
        self.file = (folder / LOG).open("a", buffering=1)
        if "tensorboard" in sinks:
            from tensorboardX import SummaryWriter

            shutil.rmtree(folder / BOARD, ignore_errors=True)
            # An open TensorBoard forgets what it has read of the steps that now come again.
            self.board = SummaryWriter(str(folder / BOARD), purge_step=0)
        if "wandb" in sinks:
            import wandb

            self.remote = wandb.init(
                project=PROJECT, id=_run_id(folder / RUN_ID), name=name, dir=str(folder),
                resume="allow", config=settings,
            )  # fmt: skip
        for line in kept:
            self._tell(line["step"], line)
            if self.board is not None and any(key.startswith("eval/") for key in line):
                self._show(line["step"], self.samples(line["step"] + 1))

    def samples(self, done: int) -> Path:
        """The folder of what is shown after `done` steps; it may not exist."""
        return self.folder / SAMPLES / f"{done:06}"

    def write(self, step: int, values: Values) -> None:
        """A line of the log, told to every sink."""
        if self.leads:
            self.file.write(json.dumps({"step": step, **values}) + "\n")
            self._tell(step, values)

    def evaluated(self, step: int, scores: Values, last: bool = False) -> None:
        """Tell what was measured and shown after `step`, and draw the picture again. The last
        scores of a run are those of its stage, and not in its log."""
        if not self.leads:
            return
        if not last:
            self.write(step, scores)
        else:
            self._tell(step, scores)
        if self.board is not None:
            self._show(step, self.samples(step + 1))
            self.board.flush()
        lines = [json.loads(line) for line in (self.folder / LOG).read_text().splitlines()]
        self._draw([*lines, *[{"step": step, **scores}] * last])

    def _draw(self, lines: list[Values]) -> None:
        # Matplotlib takes half a second, for which commands that draw nothing need not wait.
        from quintet.train.plots import plot_losses

        done = counted(lines[-1]["step"] + 1, "step")
        plot_losses(lines, self.folder / PICTURE, f"{self.name}, {done}")

    def _tell(self, step: int, values: Values) -> None:
        numbers = {k: v for k, v in values.items() if k != "step" and not isinstance(v, str)}
        if self.board is not None:
            for key, value in numbers.items():
                self.board.add_scalar(key, value, step)
        # It takes each step once, in order: what came there before the kill stays.
        if self.remote is not None and step >= self.remote.step:
            self.remote.log({k: v for k, v in numbers.items() if math.isfinite(v)}, step=step)

    def _show(self, step: int, folder: Path) -> None:
        """What a task has written for people, to TensorBoard."""
        import numpy as np
        import soundfile
        from PIL import Image

        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder).with_suffix(""))
            if path.suffix == ".png":
                pixels = np.asarray(Image.open(path).convert("RGB"))
                self.board.add_image(name, pixels, step, dataformats="HWC")
            elif path.suffix == ".wav":
                sound, rate = soundfile.read(path, dtype="float32")
                self.board.add_audio(name, sound[:, None], step, sample_rate=rate)
            elif path.suffix == ".txt":
                indented = path.read_text(encoding="utf-8").replace("\n", "\n    ")
                self.board.add_text(name, "    " + indented, step)

    def __enter__(self) -> Loggers:
        return self

    def __exit__(self, *error: object) -> None:
        if not self.leads:
            return
        self.file.close()
        if self.board is not None:
            self.board.close()
        if self.remote is not None:
            self.remote.finish(exit_code=int(error[0] is not None))


def _cut(path: Path, step: int) -> list[Values]:
    """The lines of a log before `step`, in which the file then ends: the others will be written
    again."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if lines and not _is_whole(lines[-1]):
        lines.pop()
    kept = [line for line in map(json.loads, lines) if line["step"] < step]
    write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def _is_whole(line: str) -> bool:
    """Whether a line of the log was written to its end; a kill may have cut the last."""
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _run_id(path: Path) -> str:
    """Under which a run goes on at Weights & Biases."""
    if not path.exists():
        write_whole(path, uuid.uuid4().hex[:12])
    return path.read_text()
