"""Describe: pictures as a camera sees them, and what they are; seeing, thing by thing.

What `transcribe` is to hearing: in a live scene a name is one word among hundreds of rows, here
every sample is one picture and its name.
"""

from __future__ import annotations

from quintet.stages.answers import learn_answers
from quintet.stages.context import Context
from quintet.stages.omni_task import OMNI_SETTINGS

SETTINGS = OMNI_SETTINGS
START = "transcribe"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    return learn_answers(context, "describe", START)
