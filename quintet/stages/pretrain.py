"""Pretrain: next-row prediction on interleaved text and pictures, as found on the web.

Data: documents with pictures between paragraphs, or a person's own; time constant, flag 0.
Everything but the audio embedding and the audio head trains; the audio head is never asked.
"""

from __future__ import annotations

from quintet import train
from quintet.settings import Count
from quintet.stages.context import Context
from quintet.stages.omni_task import SHARD_SETTINGS, OmniTask
from quintet.stages.shown import Shown
from quintet.stages.sources import SOURCE_SETTINGS, samples_for
from quintet.train import TrainConfig

SETTINGS = {"train": TrainConfig, **SHARD_SETTINGS, "held_out": Count, **SOURCE_SETTINGS}
SOURCE_KINDS = ("pretrain",)


def run(context: Context) -> dict[str, float]:
    samples, held_out = samples_for(context, "pretrain", SOURCE_KINDS)
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=None,
        trains=lambda name: "audio" not in name,
        shows=Shown(context).document,
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
