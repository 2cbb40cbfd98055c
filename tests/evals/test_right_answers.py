"""Answers written many at once are those that turn mode writes to each alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from conftest import make_config, make_model, make_tokenizers

from quintet.data.reasoning import ReasoningMaker, long_multiplication, world_problem
from quintet.evals.reasoning import (
    _likeliest,
    _row,
    after,
    question_of,
    right_answers,
    write,
    written_in,
)  # fmt: skip
from quintet.live.decoder import TipDecoder
from quintet.live.sampling import Sampling
from quintet.model.cache import KVCache
from quintet.model.embedding import RowTensors
from quintet.timeline.rows import concatenate
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import Vocabulary

BUDGET = 12


def _maker() -> ReasoningMaker:
    config = make_config()
    vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
    text = make_tokenizers(config).text
    return ReasoningMaker(text, config.audio.num_codebooks, vocabulary)


@torch.no_grad()
def test_together_as_alone() -> None:
    config, maker = make_config(), _maker()
    rng = np.random.default_rng(0)
    problems = [world_problem(rng, "test") for _ in range(12)]
    questions = [question_of(maker.sample(problem)) for problem in problems]
    assert len({len(question) for question in questions}) > 1
    lengths = set()
    for seed in (7, 16, 37):  # models that fall silent sooner or later
        model = make_model(config, seed)
        model.text_image_head.weight[-1] *= 5
        together = write(model, maker.text, questions, BUDGET)
        for problem, made in zip(problems, together, strict=True):
            cache = KVCache(config.model, 512)
            decoder = TipDecoder(model, maker.text, Sampling(), 0, cache)
            tokens = np.zeros((len(maker.asked(problem)), config.audio.num_codebooks), np.int32)
            tokens[:, 0] = maker.asked(problem)
            decoder.append(Stream.TEXT_IN, Modality.TEXT, tokens, 0)
            answer = decoder.run(decoder.answer(0, BUDGET, 0))
            alone = [token for _, token in answer.text_image]
            if maker.text.image_id in alone:  # a picture begins there, which is not written here
                cut = alone.index(maker.text.image_id)
                alone, made = alone[:cut], made[:cut]
            assert made == alone
            lengths.add(len(made))
    assert len(lengths) > 3


@torch.no_grad()
def test_an_answer_may_begin_later() -> None:
    """Written entry by entry or read at once with those positions, the likeliest are the same."""
    config, maker = make_config(), _maker()
    problem = world_problem(np.random.default_rng(0), "test")
    model, question = make_model(config, 16), question_of(maker.sample(problem))
    made = {first: write(model, maker.text, [question], BUDGET, [first])[0] for first in (0, 1, 9)}
    assert len(set(map(tuple, made.values()))) == 3
    for first, entries in made.items():
        answer = [_row(model, entry, first + place) for place, entry in enumerate(entries)]
        rows = concatenate([question, *answer])
        hidden_TD = model(RowTensors.from_rows([rows]))[0, len(question) - 1 :]
        likeliest_T, speaks_T = _likeliest(model, maker.text, hidden_TD)
        assert likeliest_T[: len(entries)].tolist() == entries
        assert speaks_T[: len(entries)].all() and speaks_T[-1] == (len(entries) == BUDGET)


@torch.no_grad()
def test_what_no_tokenizer_has_is_never_written() -> None:
    """A model may have room for more words than its tokenizer learned."""
    model = make_model(make_config())
    hidden_BD = torch.randn(64, model.config.model.d_model)
    most = int(model.text_image_head.words(hidden_BD).argmax(-1).max())
    small: Any = SimpleNamespace(vocab_size=20)
    entries_B, speaks_B = _likeliest(model, small, hidden_BD)
    assert most >= 20 and speaks_B.any() and bool((entries_B[speaks_B] < 20).all())


def test_what_an_answer_is() -> None:
    assert after(7, [1, 2, 7, 3, 4]) == after(7, [3, 4]) == [3, 4]
    maker = _maker()
    whole = maker.sample(long_multiplication(12, 34, 2))
    bare = maker.without(whole, 1_000)
    assert after(maker.mark, written_in(whole)) == written_in(bare)
    assert np.array_equal(question_of(whole).tokens, question_of(bare).tokens)


def test_right_is_right_to_the_last_character(monkeypatch) -> None:
    maker = _maker()
    samples = [maker.sample(long_multiplication(12, b, 2)) for b in range(10, 16)]
    wanted = [written_in(sample) for sample in samples]
    wanted[1] = after(maker.mark, wanted[1])  # without the way to it
    wanted[2] = wanted[2][:-1]
    wanted[3] = wanted[3] + wanted[3][-1:]
    wanted[4][0] += 1  # a mistake on the way
    answers = iter(wanted)
    monkeypatch.setattr(
        "quintet.evals.reasoning.write", lambda *given: [next(answers) for _ in given[2]]
    )
    model = make_model(make_config())
    right, entries = right_answers(model, maker.text, maker.mark, samples, together=4)
    assert right.tolist() == [True, True, False, False, True, True]
    assert entries.tolist() == [len(w) for w in wanted]
