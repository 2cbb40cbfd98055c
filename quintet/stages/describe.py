"""Describe: pictures as a camera sees them, and what they are; seeing, thing by thing.

What `transcribe` is to hearing: in a live scene a name is one word among hundreds of rows, here
every sample is one picture and its name.
"""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.documents import training_and_held_out
from quintet.stages.omni_task import OMNI_SETTINGS, OmniTask
from quintet.stages.shown import Shown

SETTINGS = OMNI_SETTINGS
START = "transcribe"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    samples, held_out = training_and_held_out(context, "describe")
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start(START),
        shows=Shown(context).answer,
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
