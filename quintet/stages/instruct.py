"""Instruct: conversations in turn mode, with text, pictures and sound on both sides.

Requests with their answers, and spoken lines to be written down. Flag 1 on what the assistant
made, and loss there only.
"""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.documents import samples_of
from quintet.stages.omni_task import OmniTask, split


def run(context: Context) -> dict[str, float]:
    answers, held_out = split(context, samples_of(context, "instruct"))
    samples = answers + samples_of(context, "transcribe")
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start("unfrozen"),
        text_weight=context.settings.get("text_weight", 4.0),
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
