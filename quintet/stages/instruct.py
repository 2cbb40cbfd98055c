"""Instruct: conversations in turn mode, with text, pictures and sound on both sides.

Requests with their answers and, where the recipe mixes them in, spoken lines to be written down.
Flag 1 on what the assistant made, and loss there only.
"""

from __future__ import annotations

from quintet import train
from quintet.settings import Positive
from quintet.stages.context import Context
from quintet.stages.documents import training_and_held_out
from quintet.stages.omni_task import OMNI_SETTINGS, OmniTask
from quintet.stages.shown import Shown

SETTINGS = {**OMNI_SETTINGS, "text_weight": Positive}
START = "unfrozen"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    samples, held_out = training_and_held_out(context, "instruct")
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start(START),
        text_weight=context.settings.get("text_weight", 4.0),
        shows=Shown(context).answer,
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
