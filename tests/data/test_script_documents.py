"""Scripts as documents: what is asked, what is learned, and that none is too long to be written."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_config, make_tokenizers

from quintet.data.documents import DocumentMaker, Material
from quintet.data.script_documents import SEEDS, script_samples
from quintet.data.world.script_text import parse
from quintet.data.world.writers import MAX_TOKENS, order, things_of
from quintet.live.turns import MAX_ANSWER_ROWS
from quintet.timeline.streams import Stream
from quintet.timeline.targets import NOT_ASKED


@pytest.fixture(scope="module")
def maker() -> DocumentMaker:
    config = make_config()
    return DocumentMaker(config, make_tokenizers(config), Material({}, {}))


def test_an_order_is_answered_by_a_script_that_has_its_things(maker: DocumentMaker) -> None:
    text = maker.tokenizers.text
    for sample in script_samples(maker, 6, seed=3):
        rows = sample.rows
        asked, written = (
            rows.tokens[rows.stream == stream, 0].tolist()
            for stream in (Stream.TEXT_IN, Stream.TEXT_OUT)
        )
        assert asked[-1] == written[-1] == text.end_id
        assert len(asked) + len(written) == len(rows)
        script = parse(text.decode(written))
        assert order(things_of(script)) == text.decode(asked)
        learned = np.flatnonzero(sample.text_target != NOT_ASKED)
        # From the order's last row on: the script, then silence of both heads.
        assert learned.tolist() == list(range(len(asked) - 1, len(rows)))
        assert sample.text_target[learned[:-1]].tolist() == written
        assert len(written) <= MAX_TOKENS


def test_what_is_learned_can_be_written_at_once() -> None:
    assert MAX_TOKENS + 1 < MAX_ANSWER_ROWS  # with the No Output that ends it
    assert SEEDS > 2 * 10**8  # scenes of a set take twice their number


def test_samples_are_a_function_of_the_seed(maker: DocumentMaker) -> None:
    one, same, other = (
        [sample.rows.tokens.tobytes() for sample in script_samples(maker, 3, seed)]
        for seed in (1, 1, 2)
    )
    assert one == same and not set(one) & set(other)
