"""How well a model writes scripts: what the stage `scripts` has taught.

Of so many orders: how many answers are a script at once, with or without a repair; whether the
things that were ordered are in it; whether it can be staged; and how much of it is new, against
as many scripts of the grammar as training may have seen.

    python -m benchmarks.writing MODEL [ORDERS]
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
from rich.progress import track

from quintet.commands.world import WRITING_TEMPERATURE
from quintet.config import UserError
from quintet.data.script_documents import SEEDS
from quintet.data.world.script import Intent, Said, Script
from quintet.data.world.script_sense import unseen_thing
from quintet.data.world.script_text import parse
from quintet.data.world.staging import stage_script
from quintet.data.world.writers import GrammarWriter, drawn_order, things_of
from quintet.evals.scores import share
from quintet.live import Quintet, Sampling, load

ORDERS, SEED = 200, 1_000_000
KNOWN = 10_000  # scripts of the grammar


def written(model: Quintet, seed: int) -> str:
    """What it answers to the order of a seed."""
    asked: list[dict[str, object]] = [{"role": "user", "content": drawn_order(seed)}]
    return model.chat(asked, seed, Sampling(text_temperature=WRITING_TEMPERATURE)).text


def lines_of(script: Script) -> list[str]:
    return [cue.text for cue in script.cues if isinstance(cue, Said)]


def known_text() -> tuple[set[str], set[str]]:
    """Scripts and spoken lines of the grammar."""
    rng, writer = np.random.default_rng((0, 19)), GrammarWriter()
    scripts, lines = set[str](), set[str]()
    for _ in track(range(KNOWN), "known scripts", transient=True):
        script = writer.write(SEEDS + int(rng.integers(SEEDS)))
        scripts.add(script.write())
        lines.update(lines_of(script))
    return scripts, lines


def ordered_things(seed: int) -> set[str]:
    _, colon, names = drawn_order(seed).rstrip(".").partition(": ")
    return set(names.split(", ")) if colon else set()


def main(name: str, orders: int = ORDERS) -> None:
    model, (known, known_lines) = load(name), known_text()
    valid, clean, true, staged, new, new_lines = (list[bool]() for _ in range(6))
    had, intents, repairs, refusals = [], Counter[str](), Counter[str](), Counter[str]()
    for seed in track(range(SEED, SEED + orders), "orders", transient=True):
        made: list[str] = []
        try:
            script = parse(written(model, seed), made)
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
        had += [thing in things_of(script) for thing in ordered_things(seed)]
        new.append(script.write() not in known)
        new_lines += [line not in known_lines for line in lines_of(script)]
        try:
            stage_script(script, seed, "train")
            staged.append(True)
        except UserError as error:
            refusals[f"staging: {error}"] += 1
            staged.append(False)
    for what, found in (
        ("a script at once", valid), ("of these without a repair", clean),
        ("that names what is shown alone", true), ("that can be staged", staged),
        ("ordered things that are in it", had), ("scripts that are new", new),
        ("lines that are new", new_lines),
    ):  # fmt: skip
        score = share(found)
        if score.value is not None:
            interval = f"({score.low:.1%} - {score.high:.1%})"
            print(f"{what:32} {score.value:6.1%}  {interval}, n {score.n}")
    print(f"kinds of request: {len(intents)}")
    for title, counter in (("repairs", repairs), ("refused", refusals)):
        for reason, count in counter.most_common(8):
            print(f"{title}: {count} x {reason}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit("usage: python -m benchmarks.writing MODEL [ORDERS]")
    main(sys.argv[1], *map(int, sys.argv[2:]))
