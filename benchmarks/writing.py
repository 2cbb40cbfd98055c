"""How well a model writes scripts: what the stage `scripts` has taught.

Of so many orders: how many answers are a script at once, with or without a repair; whether the
things that were ordered are in it; whether it can be staged; and how much of it is new, against
the scripts that the recipe `nano` trains on.

    python -m benchmarks.writing MODEL [ORDERS]
"""

from __future__ import annotations

import sys
from collections import Counter

from rich.progress import track

from quintet.commands.world import WRITING_TEMPERATURE
from quintet.config import UserError
from quintet.data.script_documents import training_scripts
from quintet.data.world.script import Intent, Said, Script
from quintet.data.world.script_sense import unseen_thing
from quintet.data.world.script_text import parse
from quintet.data.world.staging import stage_script
from quintet.data.world.writers import ModelWriter, drawn_things, things_of
from quintet.evals.scores import Score, share
from quintet.live import Quintet, Sampling, load

ORDERS, SEED = 200, 1_000_000
SHARDS, SHARD_SIZE = 40, 250  # of the recipe


def lines_of(script: Script) -> list[str]:
    return [cue.text for cue in script.cues if isinstance(cue, Said)]


def learned(model: Quintet) -> tuple[set[str], set[str]]:
    """Scripts and spoken lines that the recipe `nano` trains on, in the model's own tokens."""
    scripts, lines = set[str](), set[str]()
    for shard in track(range(SHARDS), "training's scripts", transient=True):
        for script in training_scripts(model.tokenizers.text, SHARD_SIZE, shard):
            scripts.add(script.write())
            lines.update(lines_of(script))
    return scripts, lines


def tell(what: str, score: Score) -> None:
    if score.value is not None:
        interval = f"({score.low:.1%} - {score.high:.1%})"
        print(f"{what:32} {score.value:6.1%}  {interval}, n {score.n}")


def main(name: str, orders: int = ORDERS) -> None:
    model = load(name)
    writer = ModelWriter.of(model, Sampling(text_temperature=WRITING_TEMPERATURE))
    known, known_lines = learned(model)
    valid, clean, true, staged, new, new_lines = (list[bool]() for _ in range(6))
    ordered, spoken = list[int](), list[int]()  # the script that each belongs to
    had, intents, repairs, refusals = list[bool](), Counter[str](), Counter[str](), Counter[str]()
    for seed in track(range(SEED, SEED + orders), "orders", transient=True):
        made: list[str] = []
        try:
            script = parse(writer.answer(seed), made)
        except UserError as error:
            refusals[str(error)] += 1
            valid.append(False)
            continue
        valid.append(True)
        clean.append(not made)
        repairs.update(made)
        if things_of(script):
            true.append(not unseen_thing(script))
        intents.update(cue.name for cue in script.cues if isinstance(cue, Intent))
        had += [thing in things_of(script) for thing in drawn_things(seed)]
        ordered += [seed] * len(drawn_things(seed))
        new.append(script.write() not in known)
        new_lines += [line not in known_lines for line in lines_of(script)]
        spoken += [seed] * len(lines_of(script))
        try:
            stage_script(script, seed, "train")
            staged.append(True)
        except UserError as error:
            refusals[f"staging: {error}"] += 1
            staged.append(False)
    for what, found in (
        ("a script at once", valid), ("of these without a repair", clean),
        ("that names what is shown alone", true), ("that can be staged", staged),
        ("scripts that are new", new),
    ):  # fmt: skip
        tell(what, share(found))
    tell("ordered things that are in it", share(had, scenes=ordered))
    tell("lines that are new", share(new_lines, scenes=spoken))
    print(f"kinds of request: {len(intents)}")
    for title, counter in (("repairs", repairs), ("refused", refusals)):
        for reason, count in counter.most_common(8):
            print(f"{title}: {count} x {reason}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit("usage: python -m benchmarks.writing MODEL [ORDERS]")
    main(sys.argv[1], *map(int, sys.argv[2:]))
