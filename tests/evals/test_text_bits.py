"""Bits a byte: the sum that it says it is, of words alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from quintet.evals.text_bits import TextMaker, _bits, bits_per_byte
from quintet.live.pretrained import Quintet
from quintet.model.embedding import RowTensors
from quintet.timeline.streams import Stream


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Quintet:
    return Quintet.from_pretrained(model_folder)


@torch.no_grad()
def test_bits_are_those_of_each_entry_given_all_before(model: Quintet) -> None:
    sample, _ = TextMaker(model).answer(np.random.default_rng(0))
    rows, expected = sample.rows, 0.0
    for place in np.flatnonzero(rows.stream == Stream.TEXT_OUT).tolist():
        hidden_BTD = model.model(RowTensors.from_rows([rows.take(slice(0, place))]))
        logits_V = model.model.text_image_head(hidden_BTD[0, -1:]).float()[0]
        expected -= float(logits_V.log_softmax(-1)[int(rows.tokens[place, 0])]) / math.log(2)
    assert _bits(model, sample) == pytest.approx(expected, rel=1e-4)


def test_only_text_is_in_the_rows_and_all_of_it_is_counted(model: Quintet) -> None:
    maker, rng = TextMaker(model), np.random.default_rng(1)
    for make in (maker.world, maker.english):
        sample, text = make(rng)
        words = [entry for entry in sample.rows.tokens[:, 0].tolist() if entry != maker.text.end_id]
        assert maker.text.decode(words).replace(" ", "") == text.replace(" ", "")


def test_every_kind_is_scored_the_same_twice(
    model: Quintet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintet.evals.text_bits.SAMPLES", 6)
    first, second = bits_per_byte(model, 3), bits_per_byte(model, 3)
    assert first == second and len(first) == 3
    assert all((score.value or 0) > 1 and score.chance == 8 for score in first.values())
    rng = np.random.default_rng((3, 32, 2))
    made = [TextMaker(model).answer(rng) for _ in range(6)]
    each = sum(_bits(model, sample) for sample, _ in made) / sum(len(text) for _, text in made)
    assert first["bits_per_byte_of_typed_answers"].value == pytest.approx(each)
    assert bits_per_byte(model, 4) != first
