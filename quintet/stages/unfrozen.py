"""Unfrozen: everything trains on all modalities, not yet mixed in one sample.

The head that a sample does not use learns `No Output`.
"""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.documents import training_and_held_out
from quintet.stages.omni_task import OMNI_SETTINGS, OmniTask

SETTINGS = OMNI_SETTINGS
START = "audio"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    samples, held_out = training_and_held_out(context, "unfrozen")
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start(START),
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
