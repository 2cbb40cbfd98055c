"""Scripts as documents: what is asked, what is learned, and that none is too long to be written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_tokenizers

from quintet.config import UserError
from quintet.data.documents import DocumentMaker, Material
from quintet.data.script_documents import SEEDS, script_samples
from quintet.data.world import sets
from quintet.data.world.script import Script
from quintet.data.world.script_text import parse
from quintet.data.world.writers import MAX_TOKENS, GrammarWriter, order, things_of
from quintet.live.decoder import TipDecoder
from quintet.live.sampling import Sampling
from quintet.live.turns import chat
from quintet.timeline.streams import Modality, Stream
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


def test_what_is_learned_can_be_written_at_once(
    maker: DocumentMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a model that has learned a script of the greatest length, to its end."""
    text, model = maker.tokenizers.text, make_model(maker.config)
    ids = [*text.encode("user: hi\n" * MAX_TOKENS)[: MAX_TOKENS - 1], text.end_id]
    left = [(Modality.TEXT, token) for token in ids]
    monkeypatch.setattr(
        TipDecoder, "_ask_text_image", lambda _: (left.pop(0) if left else None, 0.0)
    )
    silent = (torch.zeros(1, maker.config.audio.num_codebooks), torch.tensor([False]))
    monkeypatch.setattr(model.audio_head, "sample", lambda *_: silent)
    asked: list[dict[str, object]] = [{"role": "user", "content": order([])}]
    assert chat(model, maker.tokenizers, asked, Sampling(), 0).text == text.decode(ids)
    assert not left


def test_scripts_of_sets_are_not_those_of_training(
    maker: DocumentMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below 2^29, as docs/stages/scripts.md says, in each try and split."""
    asked, write = list[int](), GrammarWriter.write

    def note(writer: GrammarWriter, seed: int) -> Script:
        asked.append(seed)
        return write(writer, seed)

    monkeypatch.setattr(GrammarWriter, "write", note)
    script_samples(maker, 20, seed=0)
    lowest, highest = min(asked), max(asked)
    asked.clear()
    monkeypatch.setattr(sets, "stage_script", lambda *_, **__: _refuse())
    for seed, split in ((0, "train"), (2**29 - 1, "train"), (2**29 - 1, "test")):
        with pytest.raises(UserError):
            sets._staged(seed, split, GrammarWriter(), speakers=False)
    assert len(set(asked)) == 3 * sets.STAGED_TRIES
    assert not [seed for seed in asked if min(lowest, SEEDS) <= seed <= max(highest, 2 * SEEDS)]


def _refuse() -> None:
    raise UserError("It is too long; shorten it.")


def test_samples_are_a_function_of_the_seed(maker: DocumentMaker) -> None:
    one, same, other = (
        [sample.rows.tokens.tobytes() for sample in script_samples(maker, 3, seed)]
        for seed in (1, 1, 2)
    )
    assert one == same and not set(one) & set(other)
