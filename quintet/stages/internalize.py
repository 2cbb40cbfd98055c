"""Internalize: reasoning that is first written, then thought.

Stepwise internalization (Deng, Choi, Shieber 2024, arXiv 2405.14838): the model learns to write
its reasoning and then the answer; then the reasoning goes, one row after another from the left,
until the answer is all there is. Each time one goes, the optimizer begins anew, because what it
has gathered is of another task. Some samples lose more than their turn (removal smoothing), so
that what comes next is never quite new.

Data: long multiplications, new ones at every step, or the shards of `reasoning`, with whatever
else shall not be forgotten. Flag 1 on what is written, and loss there only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from torch import Tensor, nn

from quintet import train
from quintet.config import UserError
from quintet.data.reasoning import Form, FreshProducts, Placement, ReasoningMaker
from quintet.evals.reasoning import right_answers
from quintet.model.omni import Batch, Omni
from quintet.settings import Count, Natural, Range
from quintet.stages.context import Context
from quintet.stages.documents import check_counts, mixed_in, samples_of
from quintet.stages.omni_task import SHARD_SETTINGS, OmniTask
from quintet.timeline.targets import Sample, Vocabulary
from quintet.tokenizers.folders import TEXT_FILE
from quintet.tokenizers.text import TextTokenizer
from quintet.train import TrainConfig

SMOOTHING = 4.0  # lambda: o rows more go with a probability that falls as exp(-lambda o)
KIND, TEST_KIND = "reasoning", "reasoning_test"  # of documents
ANSWERED = 128  # held-out questions that are answered in an evaluation; never less than a batch
Reasoning = Literal["removed", "written", "none"]
SETTINGS = {
    "train": TrainConfig, "start_from": str, **SHARD_SETTINGS,
    "digits": Annotated[int, Range(0, 9)], "form": Form, "reasoning": Reasoning,
    "explicit_steps": Natural, "steps_between": Count, "rows_at_once": Count,
    "longer": dict[str, Count], "moves_up_at": Natural, "answer_stays": bool,
}  # fmt: skip


@dataclass(frozen=True)
class Removal:
    """How much of the reasoning has gone at which step: `rows_at_once` more every
    `steps_between`, or nothing ever (`reasoning` is "written"), or all of it from the beginning on
    ("none")."""

    reasoning: Reasoning
    longest: int  # rows of the longest reasoning, its mark included
    explicit_steps: int  # before the first rows go
    steps_between: int
    rows_at_once: int
    moves_up_at: int = 0  # what is left keeps its positions until this step
    answer_stays: bool = False  # where it will stand in the end; what is left keeps its positions
    # Steps until the next, in place of `steps_between`, once so many rows have gone.
    longer: Mapping[int, int] = field(default_factory=dict)

    def removed(self, step: int) -> int:
        """Rows of every sample that have gone at `step`."""
        if self.reasoning != "removed":
            return self.longest if self.reasoning == "none" else 0
        gone, due = 0, self.explicit_steps
        while due <= step and gone < self.longest:
            gone += self.rows_at_once
            due += self.longer.get(gone, self.steps_between)
        return min(gone, self.longest)

    def placement(self, step: int) -> Placement:
        """Where what is left stands."""
        if self.answer_stays:
            return "answer_stays"
        moves_up = self.reasoning != "removed" or step >= self.moves_up_at
        return "moves_up" if moves_up else "keeps"

    def begins_anew(self, step: int) -> bool:
        """Whether what is to be learned at `step` is not what it was before."""
        now, before = ((self.removed(s), self.first(s, self.longest)) for s in (step, step - 1))
        return step > 0 and now != before

    def first(self, step: int, rows: int) -> int:
        """The position of the first that is written, where there were so many rows of reasoning."""
        gone, placement = min(self.removed(step), rows), self.placement(step)
        answers = placement == "answer_stays" and gone == rows
        return 0 if answers or placement == "moves_up" else gone

    def of_samples(self, step: int, count: int, seed: int) -> np.ndarray:
        """The same of each of `count` samples, smoothed, int [count]."""
        if self.reasoning != "removed":
            return np.full(count, self.removed(step))
        rng = np.random.default_rng((seed, 3, step))
        return self.removed(step) + rng.geometric(1 - np.exp(-SMOOTHING), count) - 1


class InternalizeTask(OmniTask):
    """Trains on samples of which less and less reasoning is left.

    Args:
        fresh: makes the batches, if `samples` do not.
    """

    def __init__(
        self,
        *args: Any,
        removal: Removal,
        maker: ReasoningMaker,
        fresh: FreshProducts | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.removal, self.maker, self.fresh = removal, maker, fresh

    def record(self) -> dict[str, Any]:
        digits = self.fresh.digits if self.fresh else 0
        removal = {f"removal.{name}": value for name, value in asdict(self.removal).items()}
        removal["removal.longer"] = [*map(list, self.removal.longer.items())]  # as JSON has it
        return super().record() | removal | {"digits": digits}

    def resets_optimizer(self, step: int) -> bool:
        return self.removal.begins_anew(step)

    def batch(self, step: int) -> Batch:
        samples = (self.fresh or self.loader).batch(step)
        counts = self.removal.of_samples(step, len(samples), self.config.seed)
        placement = self.removal.placement(step)
        return self._share(
            [
                self.maker.without(sample, count, placement)
                for sample, count in zip(samples, counts.tolist(), strict=True)
            ]
        )

    def describe_batch(self, step: int) -> str:
        return f"problems made for step {step}" if self.fresh else super().describe_batch(step)

    def losses(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        losses = super().losses(module, batch, step)
        removed = losses["rows"].new_tensor(self.removal.removed(step) / self.place.data_size)
        return losses | {"removed": removed}

    def evaluate(self, module: nn.Module, done: int) -> dict[str, float]:
        """The share of right answers to questions kept out of training, and how many entries are
        written to one; of one process alone, as decoding is for a whole model."""
        assert isinstance(module, Omni)
        if self.place.world_size > 1:
            return {}
        step, maker, tested = max(done - 1, 0), self.maker, self.held_out.samples
        firsts = [self.removal.first(step, len(maker.reasoning_rows(sample))) for sample in tested]
        right, entries = right_answers(
            module, maker.text, maker.mark, tested, firsts, answer_stays=self.removal.answer_stays
        )
        return {"right": float(right.mean()), "entries": float(entries.mean())}


def check(context: Context) -> None:
    if "form" in context.settings and not context.settings.get("digits"):
        raise UserError(
            f"Stage {context.name!r} has a form of multiplications and makes none; set digits, or "
            "leave form out."
        )


def run(context: Context) -> dict[str, float]:
    config, settings = context.train, context.settings
    maker, fresh = maker_of(context), None
    if digits := settings.get("digits", 0):
        samples, tested, fresh = products_of(context, maker, digits)
    else:
        samples = samples_of(context, "reasoning") + mixed_in(context, "reasoning")
        tested = samples_of(context, "reasoning_test")[: max(ANSWERED, config.batch_size)]
    check_counts(context, len(samples), len(tested))
    longest = max(len(maker.reasoning_rows(sample)) for sample in samples)
    removal = Removal(
        settings.get("reasoning", "removed"),
        longest=longest,
        explicit_steps=settings.get("explicit_steps", 0),
        steps_between=settings.get("steps_between", 1),
        rows_at_once=settings.get("rows_at_once", 1),
        moves_up_at=settings.get("moves_up_at", 0),
        answer_stays=settings.get("answer_stays", False),
        longer=_longer(context, longest),
    )
    _check_end(context, removal)
    start = settings.get("start_from")
    task = InternalizeTask(
        context.preset, config, samples, tested,
        start_from=context.start(start) if start else None,
        removal=removal, maker=maker, fresh=fresh,
    )  # fmt: skip
    return train.run(task, config, context.folder, context.name)


def products_of(
    context: Context, maker: ReasoningMaker, digits: int
) -> tuple[list[Sample], list[Sample], FreshProducts]:
    """A first batch of products, some that are kept out of training, and what makes more."""
    config, form = context.train, context.settings.get("form", "rows")
    fresh = FreshProducts(maker, digits, "train", config.batch_size, config.seed, form)
    answered = max(ANSWERED, config.batch_size)
    tested = FreshProducts(maker, digits, "test", answered, config.seed, form).batch(0)
    return fresh.batch(0), tested, fresh


def maker_of(context: Context) -> ReasoningMaker:
    """Of the rows of `context`'s preset and its text tokenizer."""
    preset = context.preset
    text = TextTokenizer.load(context.made_by("text_tokenizer", TEXT_FILE))
    vocabulary = Vocabulary(preset.text_image_vocab_size, preset.audio.codebook_size)
    return ReasoningMaker(text, preset.audio.num_codebooks, vocabulary)


def _longer(context: Context, longest: int) -> dict[int, int]:
    """Steps by rows that have gone, which TOML has as text; `longest` is when all have."""
    at_once = context.settings.get("rows_at_once", 1)
    found = context.settings.get("longer", {})
    known = {str(rows) for rows in range(at_once, longest, at_once)}
    if odd := sorted(set(found) - known):
        raise UserError(
            f"Stage {context.name!r} has steps for {odd[0]!r} rows in longer, and waits for the "
            f"next at no such number; use multiples of rows_at_once, which is {at_once}, below "
            f"{longest}."
        )
    return {int(rows): steps for rows, steps in found.items()}


def _check_end(context: Context, removal: Removal) -> None:
    """A schedule that does not come to its end, or not as it says, would show in hours."""
    if removal.moves_up_at and removal.answer_stays:
        raise UserError(
            f"Stage {context.name!r} has moves_up_at and answer_stays, with which nothing ever "
            "moves; leave one of them out."
        )
    if removal.moves_up_at and not removal.removed(removal.moves_up_at - 1):
        raise UserError(
            f"Stage {context.name!r} has moves_up_at = {removal.moves_up_at}, before which nothing "
            "has gone; raise it, or leave it out."
        )
    left = removal.longest - removal.removed(context.train.steps - 1)
    if removal.reasoning == "removed" and left:
        raise UserError(
            f"Stage {context.name!r} would end with {left} of {removal.longest} rows of reasoning "
            "left; give it more steps or rows_at_once, or fewer steps_between."
        )
    if removal.placement(context.train.steps - 1) == "keeps":
        raise UserError(
            f"Stage {context.name!r} would end before what is left moves up, at step "
            f"{removal.moves_up_at}; give it more steps or a lower moves_up_at."
        )
