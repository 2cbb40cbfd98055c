"""What the stages of turn mode share: documents of one kind, whose answers alone are learned."""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.documents import training_and_held_out
from quintet.stages.omni_task import OmniTask
from quintet.stages.shown import Shown


def learn_answers(
    context: Context, kind: str, start: str, text_weight: float = 1.0
) -> dict[str, float]:
    """Train everything on documents of `kind`, from the stage `start` unless the recipe names
    another; the scores on those kept out."""
    samples, held_out = training_and_held_out(context, kind)
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start(start),
        text_weight=text_weight,
        shows=Shown(context).answer,
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
