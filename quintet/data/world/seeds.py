"""Which seeds belong to which set of scenes, so that none is made for two purposes.

A scene is a pure function of its seed, its split and its maker. Only pairs of preferences take
theirs at random: of the split "train", which has no scene in common with "test".
"""

from __future__ import annotations

from quintet.config import UserError

_TRAINING, _HELD_OUT = range(25_000_000), range(50_000_000, 70_000_000)
SEEDS = {
    # Sets with the same seeds have makers of their own.
    "realtime": _TRAINING,
    "encounters": _TRAINING,
    "sights": _TRAINING,
    "counting": _TRAINING,
    "speakers": range(25_000_000, 30_000_000),
    "moments": range(30_000_000, 40_000_000),
    "interruptions": range(40_000_000, 50_000_000),
    "realtime_test": _HELD_OUT,
    "encounters_test": _HELD_OUT,
    # Of the report card.
    "eval": range(70_000_000, 90_000_000),
    "eval_encounters": range(90_000_000, 110_000_000),
    "eval_speakers": range(110_000_000, 170_000_000),
    "eval_counting": range(170_000_000, 180_000_000),
    "eval_long_session": range(180_000_000, 2**31),
}

SEEDS_OF_A_KIND = 100_000  # seeds of a kind of scene, in one report


def seeds_of(name: str, first: int, count: int) -> range:
    """Those of `count` scenes of a set, from its `first` on.

    Raises:
        UserError: there the seeds of another set begin.
    """
    own = SEEDS[name]
    if first + count > len(own):
        raise UserError(
            f"Of {name!r} there are {len(own):,} scenes, and with this seed {first + count:,} "
            "would be needed; lower the seed, or make fewer."
        )
    return own[first : first + count]
