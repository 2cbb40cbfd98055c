"""Realtime: simulated scenes on the five streams, the final training.

Loss at every tip, for the heads that are asked there. Some conversations and transcripts without
a clock stay in the mixture, so that turn mode is not forgotten. Evaluated on scenes whose
voices, backgrounds and picture sizes training never saw.
"""

from __future__ import annotations

from quintet import train
from quintet.settings import Positive, Weight
from quintet.stages.context import Context
from quintet.stages.documents import check_counts, mixed_in, samples_of
from quintet.stages.omni_task import SHARD_SETTINGS, OmniTask
from quintet.stages.shown import Shown
from quintet.timeline.masks import FOREVER
from quintet.train import TrainConfig

SETTINGS = {
    "train": TrainConfig, "start_from": str, **SHARD_SETTINGS, "text_weight": Positive,
    "turn_weight": Weight, "windowed": bool,
}  # fmt: skip
TEST_KIND = "realtime_test"  # of documents, kept out of training
START = "describe"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    # Scenes that are longer than the window are learned through it, as a session sees them.
    windowed = context.settings.get("windowed", False)
    samples = samples_of(context, "realtime") + mixed_in(context, "realtime")
    held_out = samples_of(context, "realtime_test")
    check_counts(context, len(samples), len(held_out))
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start(START),
        text_weight=context.settings.get("text_weight", 4.0),
        turn_weight=context.settings.get("turn_weight", 0.0),
        window_steps=context.preset.live.window_steps if windowed else FOREVER,
        shows=Shown(context).scene,
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
