"""Transcribe: spoken lines to be written down, in turn mode; hearing, word for word.

A reply says little about the words it answers; a transcript says everything. So the model learns
to hear here, where a sample is short and every word of it counts, before live scenes.
"""

from __future__ import annotations

from quintet.stages.answers import learn_answers
from quintet.stages.context import Context
from quintet.stages.omni_task import OMNI_SETTINGS

SETTINGS = OMNI_SETTINGS
START = "instruct"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    return learn_answers(context, "transcribe", START)
