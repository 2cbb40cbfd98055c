"""Scripts: the base model learns to write scenes, of which `quintet world` then makes data.

A branch beside the chain: who wants scenes of the model's own writing releases this stage as a
model of its own and names it with `quintet world --world wide --writer`.
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
    samples, held_out = training_and_held_out(context, "scripts")
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start(START),
        shows=Shown(context).answer,
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
