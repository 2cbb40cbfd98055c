"""Transcribe: spoken lines to be written down, in turn mode; hearing, word for word.

A reply says little about the words it answers; a transcript says everything. So the model learns
to hear here, where a sample is short and every word of it counts, before live scenes.
"""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.documents import training_and_held_out
from quintet.stages.omni_task import OMNI_SETTINGS, OmniTask
from quintet.stages.shown import Shown

SETTINGS = OMNI_SETTINGS
START = "instruct"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    samples, held_out = training_and_held_out(context, "transcribe")
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start(START),
        shows=Shown(context).answer,
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
