"""Instruct: conversations in turn mode, with text, pictures and sound on both sides.

Flag 1 on what the assistant made, and loss there only.
"""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.documents import samples_of
from quintet.stages.omni_task import MODEL_FILE, OmniTask, split


def run(context: Context) -> dict[str, float]:
    samples, held_out = split(samples_of(context, "instruct"), held_out=256)
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.made_by("unfrozen", MODEL_FILE),
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
