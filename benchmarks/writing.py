"""How well a model writes scripts: what the stage `scripts` has taught.

Of so many orders: how many answers are a script at once, with or without a repair; whether the
things that were ordered are in it; whether it can be staged; and how much of it is new, against
the scripts that the recipe `nano` trains on.

    python -m benchmarks.writing MODEL [ORDERS]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import click
from rich.progress import track

from benchmarks import as_command
from quintet.config import UserError
from quintet.data.script_documents import training_scripts
from quintet.data.world.script import Intent, Said, Script
from quintet.data.world.script_sense import unseen_thing
from quintet.data.world.script_text import parse
from quintet.data.world.staging import stage_script
from quintet.data.world.writers import TEMPERATURE, ModelWriter, drawn_things, things_of
from quintet.evals.scores import Score, share
from quintet.live import Quintet, Sampling, load

ORDERS, SEED = 200, 1_000_000
SHARDS, SHARD_SIZE = 40, 250  # of the recipe
REASONS = 8  # of repairs and of refusals that are told, the most frequent


@dataclass(frozen=True)
class Written:
    """A script that answers the order of `seed`."""

    script: Script
    seed: int
    repairs: Sequence[str]
    unstaged: str  # why nobody can stage it; "" where it can be


def write(writer: ModelWriter, seed: int) -> Written:
    """The first answer to the order of `seed`.

    Raises:
        UserError: it is no script, with the reason.
    """
    repairs: list[str] = []
    script = parse(writer.answer(seed), repairs)
    try:
        stage_script(script, seed, "train")
    except UserError as error:
        return Written(script, seed, repairs, str(error))
    return Written(script, seed, repairs, "")


def lines_of(script: Script) -> list[str]:
    """What is said and typed in it, in order."""
    return [cue.text for cue in script.cues if isinstance(cue, Said)]


def learned(model: Quintet) -> tuple[set[str], set[str]]:
    """Scripts and spoken lines that the recipe `nano` trains on, in the model's own tokens."""
    scripts, lines = set[str](), set[str]()
    for shard in track(range(SHARDS), "training's scripts", transient=True):
        for script in training_scripts(model.tokenizers.text, SHARD_SIZE, shard):
            scripts.add(script.write())
            lines.update(lines_of(script))
    return scripts, lines


def scores_of(
    written: Sequence[Written], orders: int, known: set[str], known_lines: set[str]
) -> dict[str, Score]:
    """Shares, by what they are of: of the orders, of the scripts, or of what is in these.

    Args:
        written: the scripts that came of so many `orders`.
        known: scripts that are not new.
        known_lines: nor are these lines.
    """
    showing = [one for one in written if things_of(one.script)]
    ordered = [(one, thing) for one in written for thing in drawn_things(one.seed)]
    lines = [(one, line) for one in written for line in lines_of(one.script)]
    return {
        "a script at once": share(place < len(written) for place in range(orders)),
        "of these without a repair": share(not one.repairs for one in written),
        "that names what is shown alone": share(not unseen_thing(one.script) for one in showing),
        "that can be staged": share(not one.unstaged for one in written),
        "scripts that are new": share(one.script.write() not in known for one in written),
        "ordered things that are in it": share(
            (thing in things_of(one.script) for one, thing in ordered),
            scenes=[one.seed for one, _ in ordered],
        ),
        "lines that are new": share(
            (line not in known_lines for _, line in lines), scenes=[one.seed for one, _ in lines]
        ),
    }


@click.command()
@click.argument("model_name", metavar="MODEL")
@click.argument("orders", type=click.IntRange(1), default=ORDERS)
def main(model_name: str, orders: int) -> None:
    """Give so many orders to the model of that name or folder, and print what came of them."""
    model = load(model_name)
    writer = ModelWriter.of(model, Sampling(text_temperature=TEMPERATURE))
    written, refused = list[Written](), Counter[str]()
    for seed in track(range(SEED, SEED + orders), "orders", transient=True):
        try:
            written.append(write(writer, seed))
        except UserError as error:
            refused[str(error)] += 1
    for what, score in scores_of(written, orders, *learned(model)).items():
        if score.value is not None:
            interval = f"({score.low:.1%} - {score.high:.1%})"
            print(f"{what:32} {score.value:6.1%}  {interval}, n {score.n}")
    cues = [cue for one in written for cue in one.script.cues]
    print(f"kinds of request: {len({cue.name for cue in cues if isinstance(cue, Intent)})}")
    repairs = Counter(repair for one in written for repair in one.repairs)
    refused.update(f"staging: {one.unstaged}" for one in written if one.unstaged)
    for title, counter in (("repairs", repairs), ("refused", refused)):
        for reason, count in counter.most_common(REASONS):
            print(f"{title}: {count} x {reason}")


if __name__ == "__main__":
    as_command(main)
