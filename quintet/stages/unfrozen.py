"""Unfrozen: everything trains on all modalities, not yet mixed in one sample.

The head that a sample does not use learns `No Output`.
"""

from __future__ import annotations

from quintet import train
from quintet.stages.context import Context
from quintet.stages.omni_task import OMNI_SETTINGS, OmniTask
from quintet.stages.sources import SOURCE_SETTINGS, samples_for
from quintet.timeline.targets import Sample, Vocabulary, next_row_sample

SETTINGS = OMNI_SETTINGS | SOURCE_SETTINGS
SOURCE_KINDS = ("pretrain", "audio")
START = "audio"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    sizes = context.preset
    vocabulary = Vocabulary(sizes.text_image_vocab_size, sizes.audio.codebook_size)

    def both_asked(sample: Sample) -> Sample:
        return next_row_sample(sample.rows, vocabulary, both_heads=True)

    samples, held_out = samples_for(context, "unfrozen", SOURCE_KINDS, both_asked)
    task = OmniTask(
        context.preset, context.train, samples, held_out,
        start_from=context.start(START),
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
