"""Audio: the frozen trunk learns to hear and speak through new embeddings and heads alone.

Data: spoken lines, or speech found in a person's own recordings; time is the audio position.
Only the audio embedding and the audio head train, so that pictures and text keep what they have
learned.
"""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.omni_task import OMNI_SETTINGS, OmniTask
from quintet.stages.sources import SOURCE_SETTINGS, samples_for

SETTINGS = OMNI_SETTINGS | SOURCE_SETTINGS
SOURCE_KINDS = ("audio",)
START = "pretrain"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    samples, held_out = samples_for(context, "audio", SOURCE_KINDS)
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start(START),
        trains=lambda name: "audio" in name,
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
