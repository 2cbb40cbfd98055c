"""Reasoning written, thought, and left out: long multiplication, as the recipe multiplication
trains it, or the synthetic world's spelling and counting, as the recipe spelling does.

    right        share of held-out questions whose answers are right to the last character, with its
                 95 % interval; of the synthetic world's, of each kind of question, too
    entries      text entries that the model writes for one answer, reasoning and all
    ms           of a core, for one answer alone as turn mode writes it: the question read into a
                 fresh cache, then entry after entry (the median; one thread)

The models of a recipe have the same sizes: "explicit" writes its reasoning, "internalize" goes on
from it until none is left ("columns" and "internalize_columns" in another form), "direct" never had
any; "think" neither, and a layer of it is told running sums. The second table is what some of the
questions were and what was written to them; the last are internalization on its way: held-out
answers right, by rows of reasoning removed.

    quintet train multiplication
    python -m benchmarks.reasoning [--runs FOLDER] [--recipe NAME] [--json FILE]
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import ScoreRow, as_command, interval
from quintet.config import RUNS, UserError
from quintet.data.reasoning import FreshProducts, ReasoningMaker, world_problem
from quintet.evals.reasoning import LONGER, after, question_of, right_answers, write, written_in
from quintet.live.decoder import TipDecoder
from quintet.live.sampling import Sampling
from quintet.model.cache import KVCache
from quintet.model.omni import Omni
from quintet.stages.context import MODEL_FILE, Context
from quintet.stages.internalize import maker_of
from quintet.stages.recipe import Recipe
from quintet.stages.think import digits_of
from quintet.timeline.targets import Sample
from quintet.tokenizers.weight_files import load_weights
from quintet.train.loop import LOG

SEED = 1_000  # of the questions that are judged here; those of the stage's evaluations have others
TIMED, MAX_ROWS = 100, 256
SHOWN = 4  # questions of each model whose answers are shown
STAGES = ("internalize", "think")


def trained(context: Context) -> Omni:
    """The model of a finished stage."""
    model = Omni(context.preset)
    load_weights(model, context.made_by(context.name, MODEL_FILE))
    return model.eval()


@torch.no_grad()
def milliseconds(model: Omni, maker: ReasoningMaker, samples: list[Sample]) -> float:
    """Of one answer, in the median; longer than the longest right one none may be."""
    budget = max(len(written_in(sample)) for sample in samples) + LONGER
    taken = []
    for sample in samples:
        cache = KVCache(model.config.model, MAX_ROWS)
        decoder = TipDecoder(model, maker.text, Sampling(), 0, cache)
        started = time.process_time()
        decoder.extend(question_of(sample))
        decoder.run(decoder.answer(0, budget, 0))
        taken.append(time.process_time() - started)
    return 1_000 * float(np.median(taken))


def questions(maker: ReasoningMaker, digits: int, count: int) -> tuple[list[Sample], list[str]]:
    """Held-out questions, products of so many digits or (0) the world's, and of which kind each is.

    There are few of two digits, and of the world: what was drawn twice counts once.
    """
    if digits:
        drawn = FreshProducts(maker, digits, "test", count, SEED).batch(0)
        kinds = ["product"] * count
    else:
        rng = np.random.default_rng(SEED)
        problems = [world_problem(rng, "test") for _ in range(count)]
        drawn = [maker.sample(problem) for problem in problems]
        kinds = [problem.kind for problem in problems]
    found = {
        sample.rows.tokens.tobytes(): (sample, kind)
        for sample, kind in zip(drawn, kinds, strict=True)
    }
    return [sample for sample, _ in found.values()], [kind for _, kind in found.values()]


def product_digits(context: Context) -> int:
    """Of the factors that a stage multiplies; 0 where it asks the world's questions."""
    thinks = context.settings["stage"] == "think"
    return digits_of(context) if thinks else context.settings.get("digits", 0)


def answer_stays(context: Context) -> bool:
    """Whether an answer has the positions that it would have without reasoning."""
    return bool(context.settings.get("answer_stays"))


def rows_of(context: Context, count: int) -> list[ScoreRow]:
    """All figures of one model."""
    model, maker = trained(context), maker_of(context)
    samples, kinds = questions(maker, product_digits(context), count)
    stays = answer_stays(context)
    right, entries = right_answers(model, maker.text, maker.mark, samples, answer_stays=stays)
    mean, timed = float(entries.mean()), samples[:TIMED]
    figures = [
        ("right", "share", *interval(right.astype(np.float64)), len(samples)),
        ("entries", "entries", mean, mean, mean, len(samples)),
    ]
    if not stays or context.settings.get("reasoning") != "written":  # turn mode goes on counting
        ms = milliseconds(model, maker, timed)
        figures.append(("answer", "ms", ms, ms, ms, len(timed)))
    for kind in sorted(set(kinds)) if len(set(kinds)) > 1 else ():
        of_kind = right[np.array(kinds) == kind].astype(np.float64)
        figures.append((f"right, {kind}", "share", *interval(of_kind), len(of_kind)))
    return [
        {"name": f"{context.name}, {name}", "unit": unit, "value": value, "peer": None,
         "ratio": None, "low": low, "high": high, "n": n}
        for name, unit, value, low, high, n in figures
    ]  # fmt: skip


def shown(context: Context) -> list[tuple[str, str, str]]:
    """Some questions, what the model writes to each, and the right answer."""
    model, maker = trained(context), maker_of(context)
    samples, _ = questions(maker, product_digits(context), SHOWN)
    budget = max(len(written_in(sample)) for sample in samples) + LONGER
    asked = [question_of(sample) for sample in samples]
    anew_after = maker.mark if answer_stays(context) else None
    made = write(model, maker.text, asked, budget, anew_after=anew_after)
    decode = maker.text.decode
    return [
        (
            decode(question.tokens[:, 0].tolist()).strip(),
            decode(written).strip(),
            decode(after(maker.mark, written_in(sample))).strip(),
        )
        for question, written, sample in zip(asked, made, samples, strict=True)
    ]


def curve(context: Context) -> list[tuple[int, float]]:
    """Rows removed, and the share that was right then, as the stage's log has them: the last
    evaluation before each removal."""
    path, removed = context.folder / LOG, 0
    found: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        removed = int(values.get("removed", removed))
        if "eval/right" in values:
            found[removed] = values["eval/right"]
    return list(found.items())


def _show(rows: list[ScoreRow]) -> Table:
    table = Table("figure", "value", "95 %", "n")
    for row in rows:
        bounds = f"{row['low']:.3f}-{row['high']:.3f}" if row["low"] < row["high"] else ""
        table.add_row(row["name"], f"{row['value']:.3f} {row['unit']}", bounds, str(row["n"]))
    return table


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), default=RUNS, show_default=True)
@click.option("--recipe", "name", default="multiplication", show_default=True)
@click.option("--count", type=click.IntRange(1), default=1_000, show_default=True,
              help="Questions to be drawn and judged.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(runs: Path, name: str, count: int, json_file: Path | None) -> None:
    """Judge what the recipe has trained; print tables."""
    torch.set_num_threads(1)
    recipe, console = Recipe.load(name, runs), Console(width=100)
    rows: list[ScoreRow] = []
    answers = Table("model")
    for title in ("asked", "written", "right"):
        answers.add_column(title, overflow="fold")
    for context in recipe.stages:
        if context.settings["stage"] in STAGES and (context.folder / MODEL_FILE).exists():
            rows += rows_of(context, count)
            for asked, written, answer in shown(context):
                answers.add_row(context.name, asked, written, answer)
            if product_digits(context):
                answers.caption = "The lowest digit comes first: 27*36 is 72 times 63."
    if not rows:
        raise UserError(
            f"The recipe {name} has no finished stage {' or '.join(STAGES)} in {runs}; run quintet "
            f"train {name}, or name the folder of its run with --runs."
        )
    console.print(_show(rows))
    console.print(answers)
    for context in recipe.stages:
        removes = context.settings.get("reasoning", "removed") == "removed"
        is_internalized = context.settings["stage"] == "internalize" and removes
        if is_internalized and (context.folder / LOG).exists():
            table = Table("rows removed", "right", title=context.name)
            for removed, right in curve(context):
                table.add_row(str(removed), f"{right:.3f}")
            console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps({"rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    as_command(main)
