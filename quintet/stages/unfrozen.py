"""Unfrozen: everything trains on all modalities, not yet mixed in one sample.

The head that a sample does not use learns `No Output`.
"""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.documents import samples_of
from quintet.stages.omni_task import OmniTask, split


def run(context: Context) -> dict[str, float]:
    samples, held_out = split(context, samples_of(context, "unfrozen"))
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start("audio"),
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
