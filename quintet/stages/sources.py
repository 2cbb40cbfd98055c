"""Folders of shards that `quintet tokenize` made, as what a stage trains on.

    sources = { "shards/pretrain" = 2.0, "more/pretrain" = 1.0 }   # folders and their weights

A weight is a share of the samples that the stage sees, not of those that there are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from quintet.config import UserError
from quintet.data.mixture import Mixture, shares
from quintet.data.shards import ShardIndex, Shards
from quintet.stages.context import Context
from quintet.stages.documents import HELD_OUT, training_and_held_out
from quintet.stages.omni_task import tokenizers_of
from quintet.timeline.targets import Sample

SOURCE_SETTINGS = {"sources": dict[str, float]}
MOST_HELD_OUT = 0.2  # of a source
SMALLEST_SHARE = 1 / 1_000  # of the samples that a stage sees


def indexes(context: Context, kinds: tuple[str, ...]) -> dict[str, ShardIndex]:
    """The sources of a stage, checked as far as they can be before it runs.

    Raises:
        UserError: a folder has no finished shards, or those of a kind that the stage does not
            train on, or too few; or a weight is none.
    """
    weights: dict[str, float] = context.settings["sources"]
    least = min(weights.values(), default=0.0)
    if least <= 0 or least < SMALLEST_SHARE * sum(weights.values()):
        raise UserError(
            f"Stage {context.name!r} has a source without weight, or none at all; give each a "
            f"weight above 0, and at least {SMALLEST_SHARE:g} of all."
        )
    found = {}
    for name in weights:
        about = found[name] = ShardIndex.read(Path(name))
        if about.kind not in kinds:
            raise UserError(
                f"Stage {context.name!r} does not train on {about.kind!r}, of which {name} is; "
                f"name a folder of {' or '.join(kinds)}."
            )
        if sum(about.samples) < 2:
            raise UserError(f"{name} has fewer than two samples; tokenize more data.")
    batch = context.train.batch_size
    if sum(_held_out(context, found)) < batch:
        raise UserError(
            f"The sources of stage {context.name!r} are too small to keep a batch of {batch:,} out "
            "of training; lower batch_size, raise held_out, or tokenize more data."
        )
    return found


def _held_out(context: Context, found: dict[str, ShardIndex]) -> list[int]:
    """How many samples of each source are kept out of training."""
    weights: dict[str, float] = context.settings["sources"]
    total = max(len(found), int(context.settings.get("held_out", HELD_OUT)))
    sizes = [sum(about.samples) for about in found.values()]
    wanted = shares([weights[name] for name in found], total).tolist()
    most = [max(1, int(size * MOST_HELD_OUT)) for size in sizes]
    return [min(pair) for pair in zip(wanted, most, strict=True)]


def check_tokenizers(context: Context, found: dict[str, ShardIndex]) -> None:
    """Whether the stage's tokenizers made the rows.

    Raises:
        UserError: others did.
    """
    ours = tokenizers_of(context).fingerprint()
    for name, about in found.items():
        if about.tokenizers != ours:
            raise UserError(
                f"{name} was made with other tokenizers than the recipe has; tokenize the data "
                "with the same model that the recipe names as its tokenizers."
            )


def samples_for(
    context: Context,
    kind: str,
    kinds: tuple[str, ...],
    remake: Callable[[Sample], Sample] = lambda sample: sample,
) -> tuple[list[Sample] | Mixture, list[Sample]]:
    """What a stage trains on and what is kept out of training: of its sources, if it names any,
    else of the shards of `kind` that the documents stage made.

    Of each source, the last samples are kept out: no more than `held_out` in all, nor than a
    fifth. `remake` is applied to samples of sources.
    """
    if "sources" not in context.settings:
        return training_and_held_out(context, kind)
    found = indexes(context, kinds)
    check_tokenizers(context, found)
    training, held_out = [], []
    for about, kept in zip(found.values(), _held_out(context, found), strict=True):
        first = sum(about.samples) - kept
        training.append(Shards(about, 0, first))
        held_out += [remake(sample) for sample in Shards(about, first)]
    weights = [float(context.settings["sources"][name]) for name in found]
    return Mixture(training, weights, remake), held_out
