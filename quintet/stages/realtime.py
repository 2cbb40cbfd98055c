"""Realtime: simulated scenes on the five streams, the final training.

Loss at every tip, for the heads that are asked there. Some conversations and transcripts without
a clock stay in the mixture, so that turn mode is not forgotten. Evaluated on scenes whose
voices, backgrounds and picture sizes training never saw.
"""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.documents import samples_of
from quintet.stages.omni_task import OmniTask


def run(context: Context) -> dict[str, float]:
    mixture = context.settings.get("shards", ("realtime",))  # kinds, with how many shards of each
    task = OmniTask(
        context.preset, context.train,
        [sample for kind in mixture for sample in samples_of(context, kind)],
        samples_of(context, "realtime_test"),
        start_from=context.start("describe"),
        text_weight=context.settings.get("text_weight", 4.0),
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
