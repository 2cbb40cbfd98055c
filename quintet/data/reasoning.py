"""Questions that are answered right only by way of something in between, and that way in words.

What the model writes is the reasoning, `MARK`, and the answer. Every maker is a pure function of
its generator; a question that is asked in one split is never asked in the other.

Products are written as Deng, Choi and Shieber (arXiv 2405.14838) write them: the lowest digit
first, a partial product for each digit of the second number, with the running sum in brackets.

    397 x 842: 793*248, 4970+08851(47661)+006713, 472433

Or in columns: of each place of the product the digits' products that fall there, summed, before
anything is carried. What stands for one place needs nothing of what stands for another.

    397 x 842: 793*248, 410640890480420 (14, 46, 98, 84, 24), 472433

Or these by digit: the lowest of all columns first. What is left when they have gone still says how
large each sum is.

    397 x 842: 793*248, 46844 14982 00000 (without the blanks), 472433
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from quintet.data.turn_rows import TURN_TIME
from quintet.data.world.grammar import NUMBERS
from quintet.data.world.things import THINGS
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import Sample, Vocabulary, turn_sample
from quintet.timeline.timeline import Timeline
from quintet.tokenizers.text import TextTokenizer

MARK = "#"  # between the reasoning and the answer; goes when the last of the reasoning has gone
TEST_SHARE = 16  # of so many questions one is a test question

KEPT_STEPS = 8  # whose problems are kept; batches are made fewer steps ahead
SUM_WIDTH = 3  # digits of a column's sum, for factors of up to twelve digits

Split = Literal["train", "test"]
Form = Literal["rows", "columns", "columns_by_digit"]  # of the reasoning of a product
# Where the rows of a sample stand whose reasoning goes: what is left moves up as if the rest had
# never been, or keeps its positions; or it keeps them, and the answer has those of the end at once.
Placement = Literal["moves_up", "keeps", "answer_stays"]


@dataclass(frozen=True)
class Problem:
    """A question, how to come by its answer, and the answer."""

    question: str
    reasoning: str
    answer: str
    kind: str = "product"  # of question
    sums: tuple[int, ...] = ()  # behind each digit of a product


def split_of(*operands: object) -> Split:
    """Where a question about `operands` belongs."""
    words = " ".join(map(str, operands))
    return "train" if zlib.crc32(words.encode()) % TEST_SHARE else "test"


def _drawn(
    rng: np.random.Generator, split: Split, draw: Callable[[np.random.Generator], tuple]
) -> tuple:
    """Operands of `split`."""
    while True:
        operands = draw(rng)
        if split_of(*operands) == split:
            return operands


def product(rng: np.random.Generator, digits: int, split: Split, form: Form = "rows") -> Problem:
    """Two numbers of so many digits each, to be multiplied. All of a size are of one length."""

    def draw(rng: np.random.Generator) -> tuple[int, int]:
        a, b = sorted(rng.integers(10 ** (digits - 1), 10**digits, 2).tolist())
        return a, b

    a, b = _drawn(rng, split, draw)  # in order, so that both orders are of one split
    if rng.random() < 0.5:
        a, b = b, a
    if form == "rows":
        return long_multiplication(a, b, digits)
    return multiplication_in_columns(a, b, digits, by_digit=form == "columns_by_digit")


def _written(number: int, width: int) -> str:
    """The lowest digit first."""
    return str(number).zfill(width)[::-1]


def _product_problem(a: int, b: int, digits: int, reasoning: str) -> Problem:
    question = f"{_written(a, digits)}*{_written(b, digits)}"
    sums = tuple(running_sums(a, b, digits))
    return Problem(question, reasoning, _written(a * b, 2 * digits), sums=sums)


def multiplication_in_columns(a: int, b: int, digits: int, by_digit: bool = False) -> Problem:
    """a * b by what falls into each place of the product, a sum after another, or first the lowest
    digit of each; the answer is left to carry."""
    columns = column_sums(a, b, digits)[:-1]  # into the last one, only what is carried
    written = [_written(one, SUM_WIDTH) for one in columns]
    if by_digit:
        written = ["".join(digits) for digits in zip(*written, strict=True)]
    return _product_problem(a, b, digits, "".join(written))


def long_multiplication(a: int, b: int, digits: int) -> Problem:
    """a * b by one digit of b after another, as one does it on paper."""
    total, parts = 0, []
    for place in range(digits):
        partial = a * (b // 10**place % 10) * 10**place
        total += partial
        width = digits + 1 + place
        shown = f"({_written(total, width)})" if 0 < place < digits - 1 else ""
        parts.append(_written(partial, width) + shown)
    return _product_problem(a, b, digits, "+".join(parts))


def column_sums(a: int, b: int, digits: int) -> list[int]:
    """Of each place of a * b, the lowest first: the products of digits that fall there."""
    return [
        sum(a // 10**i % 10 * (b // 10 ** (place - i) % 10) for i in range(place + 1))
        for place in range(2 * digits)
    ]


def running_sums(a: int, b: int, digits: int) -> list[int]:
    """Of each place of a * b, the lowest first: the products of digits that fall there, and what
    the place before carries into it. Its last digit is that of the product."""
    carried, sums = 0, []
    for fallen in column_sums(a, b, digits):
        sums.append(fallen + carried)
        carried = sums[-1] // 10
    return sums


def most_carried(digits: int) -> int:
    """By a running sum of numbers of so many digits."""
    return max(running_sums(10**digits - 1, 10**digits - 1, digits)) // 10


ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
)  # fmt: skip
NONE = "none"
LETTERS = (
    "how many letters has {word}?", "how long is the word {word}?",
    "count the letters of {word}.",
)  # fmt: skip
LETTER_AT = (
    "what is the {ordinal} letter of {word}?", "which letter of {word} is the {ordinal}?",
    "tell me the {ordinal} letter of {word}.",
)  # fmt: skip
HOW_OFTEN = (
    "how many {letter} has {word}?", "how often is {letter} in {word}?",
    "count the {letter} in {word}.",
)  # fmt: skip
COUNT_ON = (
    "what number comes {steps} after {start}?", "count {steps} on from {start}.",
    "what is {start} and {steps}?",
)  # fmt: skip


def _draw_world(rng: np.random.Generator) -> tuple[str, str, int]:
    """A kind of question and what it is about: a word and a place in it, or two numbers."""
    kind = str(rng.choice(["letters", "letter at", "letter at", "how often", "count on"]))
    if kind == "count on":
        start = int(rng.integers(1, len(NUMBERS)))
        return kind, NUMBERS[start - 1], int(rng.integers(1, len(NUMBERS) + 1 - start))
    word = THINGS[int(rng.integers(len(THINGS)))].name
    place = int(rng.integers(len(word)))
    if kind == "how often":
        return kind, word, word.index(word[place])  # two places of one letter are one question
    return kind, word, place if kind == "letter at" else 0


def world_problem(rng: np.random.Generator, split: Split) -> Problem:
    """A question of spelling or counting about the synthetic world's words."""
    kind, word, number = _drawn(rng, split, _draw_world)
    form = int(rng.integers(3))
    if kind == "count on":
        first = NUMBERS.index(word) + 1
        counted = NUMBERS[first : first + number]
        question = COUNT_ON[form].format(start=word, steps=NUMBERS[number - 1])
        return Problem(question, ", ".join(counted), _sentence(counted[-1]), kind)
    numbered = [f"{letter} {NUMBERS[i]}" for i, letter in enumerate(word)]
    if kind == "letters":
        question, count = LETTERS[form].format(word=word), NUMBERS[len(word) - 1]
        return Problem(question, ", ".join(numbered), _sentence(count), kind)
    if kind == "letter at":
        question = LETTER_AT[form].format(ordinal=ORDINALS[number], word=word)
        answer = _sentence(word[number])
        return Problem(question, ", ".join(numbered[: number + 1]), answer, kind)
    return _how_often(word, word[number], form)


def _how_often(word: str, letter: str, form: int) -> Problem:
    """A running count, letter by letter."""
    counts = [word[: place + 1].count(letter) for place in range(len(word))]
    names = [NUMBERS[count - 1] if count else NONE for count in counts]
    reasoning = ", ".join(f"{at} {name}" for at, name in zip(word, names, strict=True))
    question = HOW_OFTEN[form].format(letter=letter, word=word)
    return Problem(question, reasoning, _sentence(names[-1]), "how often")


def _sentence(word: str) -> str:
    return word.capitalize() + "."


class ReasoningMaker:
    """Makes samples of problems: the question received, everything after it written."""

    def __init__(self, text: TextTokenizer, num_codebooks: int, vocabulary: Vocabulary) -> None:
        self.text, self.num_codebooks, self.vocabulary = text, num_codebooks, vocabulary
        (self.mark,) = text.encode(MARK)

    def asked(self, problem: Problem) -> list[int]:
        """Text entries of the question."""
        return [*self.text.encode(problem.question), self.text.end_id]

    def sample(self, problem: Problem) -> Sample:
        """Flag 1 on reasoning, mark and answer, and loss there only."""
        encode = self.text.encode
        timeline = Timeline(self.num_codebooks, self.text.vocab_size)
        timeline.add_text(Stream.TEXT_IN, self.asked(problem), TURN_TIME)
        written = [*encode(problem.reasoning), self.mark, *encode(problem.answer)]
        timeline.add_text(Stream.TEXT_OUT, [*written, self.text.end_id], TURN_TIME)
        return turn_sample(timeline.turns(), self.vocabulary)

    def reasoning_rows(self, sample: Sample) -> np.ndarray:
        """Which rows are reasoning, its mark included; none where nothing is marked."""
        rows = sample.rows
        is_written = (rows.flag == 1) & (rows.modality == Modality.TEXT)
        marks = np.flatnonzero(is_written & (rows.tokens[:, 0] == self.mark))
        written = np.flatnonzero(is_written)
        return written[written <= marks[0]] if len(marks) else marks

    def without(self, sample: Sample, count: int, placement: Placement = "moves_up") -> Sample:
        """The sample less the first `count` rows of its reasoning, the rest placed so."""
        reasoning = self.reasoning_rows(sample)
        removed = reasoning[:count]
        before = reasoning if placement == "answer_stays" else removed
        if not len(before):
            return sample
        rows = sample.rows
        if placement != "keeps":
            moves = (rows.flag == 1) & (rows.modality == Modality.TEXT)
            moves &= np.arange(len(rows)) > before[-1]
            rows = replace(rows, position=rows.position - np.int32(len(before)) * moves)
        return turn_sample(rows.take(np.delete(np.arange(len(rows)), removed)), self.vocabulary)


class FreshProducts:
    """Batches of multiplications, new ones at every step, each batch a pure function of its
    step."""

    def __init__(
        self, maker: ReasoningMaker, digits: int, split: Split, batch_size: int, seed: int,
        form: Form = "rows",
    ) -> None:  # fmt: skip
        self.maker, self.digits, self.split, self.form = maker, digits, split, form
        self.batch_size, self.seed = batch_size, seed
        # A step's samples are made ahead of it, and its sums in it: once for both.
        self._problems = lru_cache(KEPT_STEPS)(self._made)

    def batch(self, step: int) -> list[Sample]:
        """The samples of training step `step`; all of one length, and from position 0 on."""
        return [self.maker.sample(problem) for problem in self._problems(step)]

    def sums(self, step: int) -> np.ndarray:
        """The running sums behind their answers, int64 [B, 2 * digits]."""
        return np.array([problem.sums for problem in self._problems(step)], np.int64)

    def _made(self, step: int) -> list[Problem]:
        rng = np.random.default_rng((self.seed, 2, step))
        return [product(rng, self.digits, self.split, self.form) for _ in range(self.batch_size)]
