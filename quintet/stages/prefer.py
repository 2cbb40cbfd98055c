"""Prefer: of two answers to the same, the one that people would rather have (DPO).

Pairs are scenes of the synthetic world, in which one thing is spoiled, or a model's own answers
(`quintet.stages.own_answers`). Answers are of any modality, and silence is one. The reference is
the starting model, frozen, which runs beside the one that trains: a third more work a step and one
more copy of the weights, but it sees every pair where the step has moved it, so that there is
nothing to store or to invalidate, and a run that goes on after a kill goes on exactly. Evaluated on
pairs and on whole live scenes that were kept out of training.
"""

from __future__ import annotations

from typing import get_type_hints

from quintet import train
from quintet.config import UserError
from quintet.data.preferences import pairs_of
from quintet.stages.context import Context
from quintet.stages.documents import PREFERENCES, check_counts, mixed_in, samples_of
from quintet.stages.omni_task import OMNI_SETTINGS
from quintet.stages.own_answers import own_pairs
from quintet.stages.prefer_task import PreferTask
from quintet.timeline.masks import FOREVER
from quintet.train.preference import PreferenceConfig

LOSS_SETTINGS = get_type_hints(PreferenceConfig, include_extras=True)
SETTINGS = {**OMNI_SETTINGS, **LOSS_SETTINGS, "pairs": str, "windowed": bool}
START = "realtime"  # unless the setting `start_from` names another stage
KIND = PREFERENCES  # of documents
HELD_OUT = 128  # pairs


def check(context: Context) -> PreferenceConfig:
    """How the stage's settings make a loss of pairs.

    Raises:
        UserError: something should be kept and there is nothing to keep, pairs come from two
            stages, or answers should be divided.
    """
    chosen = {name: context.settings[name] for name in LOSS_SETTINGS if name in context.settings}
    if chosen.get("keep_weight") and set(context.settings.get("shards", {})) <= {PREFERENCES}:
        raise UserError(
            f"Stage {context.name!r} has a keep_weight and nothing to keep; name other kinds in "
            "its shards, such as realtime."
        )
    if "pairs" in context.settings and PREFERENCES in context.settings.get("shards", {}):
        raise UserError(
            f"Stage {context.name!r} takes its pairs from the stage {context.settings['pairs']!r} "
            f"and has {PREFERENCES} in its shards; leave out one or the other."
        )
    if context.train.context_parallel > 1:
        raise UserError(
            f"Stage {context.name!r} has context_parallel and compares whole answers; set it to 1 "
            "in the stage's own table train."
        )
    return PreferenceConfig(**chosen)


def run(context: Context) -> dict[str, float]:
    preference, is_own = check(context), "pairs" in context.settings
    pairs = own_pairs(context) if is_own else pairs_of(samples_of(context, PREFERENCES))
    scenes = samples_of(context, "realtime_test")
    kept = mixed_in(context, PREFERENCES) if preference.keep_weight else []
    count = max(0, len(pairs) - int(context.settings.get("held_out", HELD_OUT)))
    fewest = min(count, len(kept)) if preference.keep_weight else count
    check_counts(context, fewest, min(len(pairs) - count, len(scenes)))
    windowed = context.settings.get("windowed", False)  # as in the stage realtime
    task = PreferTask(
        context.preset, context.train, pairs[:count], pairs[count:],
        scenes,
        start_from=context.start(START),
        preference=preference,
        window_steps=context.preset.live.window_steps if windowed else FOREVER,
        kept=kept,
    )  # fmt: skip
    return train.run(task, context.train, context.folder, context.name)
