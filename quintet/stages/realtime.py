"""Realtime: simulated scenes on the five streams, the final training.

Loss at every tip, for the heads that are asked there. Evaluated on scenes whose voices,
backgrounds and picture sizes training never saw.
"""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.documents import samples_of
from quintet.stages.omni_task import MODEL_FILE, OmniTask


def run(context: Context) -> dict[str, float]:
    task = OmniTask(
        context.preset, context.train,
        samples_of(context, "realtime"), samples_of(context, "realtime_test"),
        start_from=context.made_by("instruct", MODEL_FILE),
        text_weight=context.settings.get("text_weight", 4.0),
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
