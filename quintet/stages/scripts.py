"""Scripts: the base model learns to write scenes, of which `quintet world` then makes data.

A branch beside the chain: who wants scenes of the model's own writing releases this stage as a
model of its own and names it with `quintet world --world wide --writer`.
"""

from __future__ import annotations

from quintet.stages.answers import learn_answers
from quintet.stages.context import Context
from quintet.stages.omni_task import OMNI_SETTINGS

SETTINGS = OMNI_SETTINGS
START = "instruct"  # unless the setting `start_from` names another stage


def run(context: Context) -> dict[str, float]:
    return learn_answers(context, "scripts", START)
