"""Questions with reasoning: right, told apart by split, and cut from the left as they should be."""

from __future__ import annotations

import re
from typing import get_args

import numpy as np
import pytest
from conftest import make_config, make_tokenizers

from quintet.config import load_preset
from quintet.data import reasoning
from quintet.data.documents import DocumentMaker, Material, reasoning_samples
from quintet.data.reasoning import (
    MARK,
    TEST_SHARE,
    Form,
    FreshProducts,
    Placement,
    ReasoningMaker,
    long_multiplication,
    multiplication_in_columns,
    product,
    split_of,
    world_problem,
)
from quintet.data.world.grammar import NUMBERS
from quintet.timeline.streams import Stream
from quintet.timeline.targets import NOT_ASKED, Sample, Vocabulary
from quintet.tokenizers.text import TextTokenizer


@pytest.fixture(scope="module")
def maker() -> ReasoningMaker:
    config = load_preset("multiplication")
    text = TextTokenizer.train(list("0123456789*+()#"), config.text.vocab_size)
    assert text.vocab_size <= config.text.vocab_size
    vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
    return ReasoningMaker(text, config.audio.num_codebooks, vocabulary)


def test_the_published_form() -> None:
    """An example of Deng, Choi and Shieber: 3719 x 3349 = 33471 + 148760 + 1115700 + 11157000."""
    made = long_multiplication(3719, 3349, 4)
    assert made.question == "9173*9433"
    assert made.reasoning == "17433+067841(132281)+0075111(1397921)+00075111"
    assert made.answer == "13945421"


@pytest.mark.parametrize("digits", [1, 2, 3, 5])
def test_products_add_up(digits: int) -> None:
    rng = np.random.default_rng(digits)
    lengths = set()
    for _ in range(50):
        made = product(rng, digits, "train")
        a, b = (int(part[::-1]) for part in made.question.split("*"))
        assert len(str(a)) == len(str(b)) == digits
        parts = re.sub(r"\(\d+\)", "", made.reasoning).split("+")
        assert sum(int(part[::-1]) for part in parts) == a * b == int(made.answer[::-1])
        lengths.add((len(made.question), len(made.reasoning), len(made.answer)))
    assert len(lengths) == 1  # nothing is padding


@pytest.mark.parametrize("digits", [1, 2, 3, 4, 9])
def test_columns_add_up(digits: int) -> None:
    assert multiplication_in_columns(397, 842, 3).reasoning == "410640890480420"
    rng = np.random.default_rng(digits)
    for _ in range(50):
        made = product(rng, digits, "train", "columns")
        a, b = (int(part[::-1]) for part in made.question.split("*"))
        columns = re.findall("...", made.reasoning)
        assert len(made.reasoning) == 3 * len(columns) == 3 * (2 * digits - 1)
        total = sum(int(column[::-1]) * 10**place for place, column in enumerate(columns))
        assert total == a * b == int(made.answer[::-1])
        by_digit = multiplication_in_columns(a, b, digits, by_digit=True)
        places = 2 * digits - 1
        taken = [by_digit.reasoning[place::places] for place in range(places)]
        assert taken == columns and by_digit.answer == made.answer
    rows = product(np.random.default_rng(5), digits, "test")
    written = set()
    for form in get_args(Form):
        made = product(np.random.default_rng(5), digits, "test", form)
        assert made.question == rows.question
        written.add(made.reasoning)
    a, b = (int(part[::-1]) for part in rows.question.split("*"))
    assert written == {
        long_multiplication(a, b, digits).reasoning,
        *(multiplication_in_columns(a, b, digits, by_digit).reasoning for by_digit in (0, 1)),
    }
    assert len(written) == (3 if digits > 1 else 2)  # a column alone is the same by digit
    assert multiplication_in_columns(397, 842, 3, by_digit=True).reasoning == "468441498200000"


def test_no_question_is_of_both_splits() -> None:
    for make in (lambda rng, split: product(rng, 2, split), world_problem):
        asked = {}
        for split in ("train", "test"):
            rng = np.random.default_rng(0)
            asked[split] = {make(rng, split).question for _ in range(1_000)}
        turned = {"*".join(reversed(question.split("*"))) for question in asked["test"]}
        assert not asked["train"] & (asked["test"] | turned)
        assert len(asked["test"]) > 20
    share = np.mean([split_of(a, b) == "test" for a in range(60) for b in range(60)])
    assert 0.8 < share * TEST_SHARE < 1.2


def test_the_worlds_answers_are_right() -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(300):
        made = world_problem(rng, "train")
        *_, last = made.reasoning.split(", ")
        at, _, counted = last.partition(" ")
        expected = counted or at
        if "letter of" in made.question or "which letter" in made.question:
            expected = at
            letters = "".join(part[0] for part in made.reasoning.split(", "))
            assert letters in made.question  # spelled from the word's beginning
            assert counted == NUMBERS[len(letters) - 1]
        assert made.answer == expected.capitalize() + "."
        kinds.add(bool(counted))
    assert kinds == {True, False}


def test_batches_are_a_function_of_the_step(maker: ReasoningMaker) -> None:
    def tokens(step: int, split: str = "train") -> list[list[int]]:
        batch = FreshProducts(maker, 3, split, 4, seed=1).batch(step)
        return [sample.rows.tokens[:, 0].tolist() for sample in batch]

    assert tokens(5) == tokens(5) != tokens(6)
    assert tokens(5) != tokens(5, "test")


def test_sums_and_samples_of_a_step_are_of_the_same_problems_made_once(
    maker: ReasoningMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(*arguments):
        problem = product(*arguments)
        made.append(problem.question)
        return problem

    monkeypatch.setattr(reasoning, "product", counted)
    fresh = FreshProducts(maker, 3, "train", 4, seed=1)
    batches = [fresh.batch(step) for step in range(4)]  # the thread ahead is so far, at most
    sums = [fresh.sums(step) for step in range(4)]
    assert len(made) == 4 * 4
    for batch, of_batch in zip(batches, sums, strict=True):
        for sample, of_sample in zip(batch, of_batch, strict=True):
            digits = "".join(str(one % 10) for one in of_sample)
            assert _written(maker, maker.without(sample, 99)) == digits


def _written(maker: ReasoningMaker, sample: Sample) -> str:
    rows = sample.rows
    return maker.text.decode(rows.tokens[rows.flag == 1, 0].tolist())


def test_reasoning_goes_from_the_left(maker: ReasoningMaker) -> None:
    made = long_multiplication(397, 842, 3)
    whole = maker.sample(made)
    length = len(made.reasoning) + 1
    assert len(maker.reasoning_rows(whole)) == length
    for count in range(length + 3):
        cut = maker.without(whole, count)
        everything = made.reasoning + MARK + made.answer
        assert _written(maker, cut) == everything[min(count, length) :]
        rows = cut.rows
        asked = rows.flag == 0
        assert maker.text.decode(rows.tokens[asked, 0].tolist()) == made.question
        # Loss on all that is written, its end included, and on nothing that is received.
        targets = cut.text_target[cut.text_target != NOT_ASKED]
        assert targets.tolist() == [*rows.tokens[~asked, 0], maker.vocabulary.text_no_output]
        assert rows.position[~asked].tolist() == list(range(np.count_nonzero(~asked)))
        assert (rows.stream[~asked] == Stream.TEXT_OUT).all()


def test_what_is_left_may_keep_its_positions(maker: ReasoningMaker) -> None:
    whole = maker.sample(long_multiplication(397, 842, 3))
    removed = maker.reasoning_rows(whole)
    for count in (0, 1, 5, len(removed), len(removed) + 3):
        kept, moved = maker.without(whole, count, "keeps"), maker.without(whole, count)
        assert np.array_equal(kept.rows.position, np.delete(whole.rows.position, removed[:count]))
        assert np.array_equal(kept.text_target, moved.text_target)
        for name in ("tokens", "stream", "modality", "step", "flag"):
            assert np.array_equal(getattr(kept.rows, name), getattr(moved.rows, name))


def test_an_answer_may_stand_where_it_will_in_the_end(maker: ReasoningMaker) -> None:
    whole = maker.sample(long_multiplication(397, 842, 3))
    length = len(maker.reasoning_rows(whole))
    bare = maker.without(whole, length)
    answer = bare.rows.position[bare.rows.flag == 1].tolist()
    for count in (0, 1, 5, length, length + 3):
        made = maker.without(whole, count, "answer_stays")
        written = made.rows.position[made.rows.flag == 1].tolist()
        assert written == [*range(count, length), *answer]
        assert np.array_equal(made.text_target, maker.without(whole, count).text_target)
        asked, before = (sample.rows.position[sample.rows.flag == 0] for sample in (made, whole))
        assert np.array_equal(asked, before)


def test_what_has_no_reasoning_stays() -> None:
    config = make_config()
    vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
    text = make_tokenizers(config).text
    maker = ReasoningMaker(text, config.audio.num_codebooks, vocabulary)
    bare = maker.without(maker.sample(long_multiplication(12, 34, 2)), 1_000)
    for placement in get_args(Placement):
        assert maker.without(bare, 3, placement) is bare


def test_the_worlds_shards_keep_the_splits_apart() -> None:
    config, asked = make_config(), {}
    tokenizers = make_tokenizers(config)
    maker = DocumentMaker(config, tokenizers, Material({}, {}))
    for split in ("train", "test"):
        samples = reasoning_samples(maker, 60, 0, split)
        again = reasoning_samples(maker, 60, 0, split)
        for sample, same in zip(samples, again, strict=True):
            assert np.array_equal(sample.rows.tokens, same.rows.tokens)
        received = [s.rows.tokens[s.rows.flag == 0, 0].tolist() for s in samples]
        asked[split] = {tokenizers.text.decode(ids).lower().rstrip(".?") for ids in received}
    assert len(asked["test"]) > 20 and not asked["train"] & asked["test"]
