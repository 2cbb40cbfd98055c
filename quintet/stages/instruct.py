"""Instruct: conversations in turn mode, with text, pictures and sound on both sides.

Requests with their answers and, where the recipe mixes them in, spoken lines to be written down.
Flag 1 on what the assistant made, and loss there only.
"""

from __future__ import annotations

from quintet.settings import Positive
from quintet.stages.answers import learn_answers
from quintet.stages.context import Context
from quintet.stages.omni_task import OMNI_SETTINGS

SETTINGS = {**OMNI_SETTINGS, "text_weight": Positive}
START = "unfrozen"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    weight = context.settings.get("text_weight", 4.0)
    return learn_answers(context, "instruct", START, weight)
