"""A live session: its laws hold for any weights, so these are random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_tokenizers

from quintet.config import STEP_SAMPLES, OmniConfig, UserError
from quintet.live.sampling import Sampling, choose
from quintet.live.session import Session, StepOutput
from quintet.model.embedding import RowTensors
from quintet.model.omni import Omni
from quintet.timeline.masks import window_mask
from quintet.timeline.rows import Rows, concatenate
from quintet.timeline.timeline import live_order
from quintet.tokenizers.bundle import Tokenizers

HOT = Sampling(text_temperature=1.0, image_temperature=1.0, audio_temperature=1.0, top_p=1.0)
STEPS = 20


def _inputs(
    seed: int, steps: int = STEPS
) -> list[tuple[np.ndarray, np.ndarray | None, str | None]]:
    rng = np.random.default_rng(seed)
    return [
        (
            rng.standard_normal(STEP_SAMPLES).astype(np.float32) * 0.1,
            rng.integers(0, 255, (30, 40, 3), np.uint8) if step % 5 == 2 else None,
            "draw a cat." if step % 6 == 1 else None,
        )
        for step in range(steps)
    ]


def _same(one: StepOutput, other: StepOutput) -> bool:
    pictures = (one.image, other.image)
    return (
        np.array_equal(one.audio, other.audio)
        and one.text == other.text
        and one.counts == other.counts
        and (pictures == (None, None) or np.array_equal(*pictures))
    )


class _Recorder:
    """Keeps every row that enters a session's cache."""

    def __init__(self, session: Session) -> None:
        self.rows: list[Rows] = []
        self.hidden: list[torch.Tensor] = []
        extend = session.decoder._extend

        def record(rows: Rows) -> None:
            extend(rows)
            self.rows.append(rows)
            self.hidden.append(session.decoder._hidden_1D)

        session.decoder._extend = record  # type: ignore[method-assign]

    def table(self) -> Rows:
        return concatenate(self.rows)


def test_a_session_equals_its_rows_at_once(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers
) -> None:
    """The rows that a session fed, window and all, in one masked pass: the same hidden vectors."""
    session = Session(model, tokenizers, HOT, seed=1)
    recorder = _Recorder(session)
    for audio, image, text in _inputs(0, 14):
        session.step(audio, image, text)
    rows = recorder.table()
    assert np.array_equal(live_order(rows), np.arange(len(rows)))  # they came in live order
    assert set(rows.stream.tolist()) == {0, 1, 2, 3, 4}
    causal = np.tril(np.ones((len(rows), len(rows)), bool))
    allowed = causal & window_mask(rows.step, config.live.window_steps)
    with torch.no_grad():
        hidden = model(RowTensors.from_rows([rows]), torch.from_numpy(allowed))[0]
    ends = np.cumsum([len(part) for part in recorder.rows]) - 1
    torch.testing.assert_close(torch.cat(recorder.hidden), hidden[ends], rtol=1e-4, atol=1e-4)


def test_no_output_never_enters_the_cache(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers
) -> None:
    session = Session(model, tokenizers, HOT, seed=2)
    recorder = _Recorder(session)
    outputs = [session.step(*one) for one in _inputs(1)]
    rows = recorder.table()
    audio = rows.modality == 2
    assert rows.tokens[audio].max() < config.audio.codebook_size
    assert rows.tokens[~audio, 0].max() < config.text_image_vocab_size
    assert len(rows) == sum(sum(out.counts.values()) for out in outputs)
    silent = [out for out in outputs if not out.speaking and not out.text and out.image is None]
    assert all(sum(v for k, v in out.counts.items() if k.endswith("_out")) == 0 for out in silent)


def test_sessions_do_not_hear_each_other(model: Omni, tokenizers: Tokenizers) -> None:
    alone = Session(model, tokenizers, HOT, seed=3)
    expected = [alone.step(*one) for one in _inputs(2)]
    mine, other = Session(model, tokenizers, HOT, seed=3), Session(model, tokenizers, HOT, seed=4)
    for (own, foreign), expect in zip(zip(_inputs(2), _inputs(3), strict=True), expected,
                                      strict=True):  # fmt: skip
        assert _same(mine.step(*own), expect)
        other.step(*foreign)


def test_an_output_is_computed_before_the_input_of_its_step() -> None:
    """What is heard in step t changes nothing that plays in step t."""
    config = make_config()
    model, tokenizers = make_model(config), make_tokenizers(config)
    one, other = Session(model, tokenizers, HOT, 5), Session(model, tokenizers, HOT, 5)
    inputs = _inputs(4, 6)
    for step in range(5):
        assert _same(one.step(*inputs[step]), other.step(*inputs[step]))
    loud = one.step(np.ones(STEP_SAMPLES, np.float32) * 0.9)
    quiet = other.step(np.zeros(STEP_SAMPLES, np.float32))
    assert loud.step == quiet.step == 6  # heard in step 5, answered in step 6
    assert not _same(loud, quiet)


def test_memory_and_work_stay_constant() -> None:
    config = make_config(window_steps=4)
    model, tokenizers = make_model(config), make_tokenizers(config)
    session, lengths = Session(model, tokenizers, HOT, seed=6), []
    silence = np.zeros(STEP_SAMPLES, np.float32)
    for _ in range(150):
        session.step(silence)
        lengths.append(session.decoder.cache.length)
    most = 4 * (3 + 3 + config.live.text_image_rows_per_step)
    assert max(lengths) <= most
    assert len(session._spare) < STEP_SAMPLES and len(session._picture) < config.image.num_tokens


def test_a_picture_once_begun_is_finished_and_the_next_may_follow() -> None:
    """Random weights at high temperature draw often; no picture ever has too many codes."""
    config = make_config()
    config = replace(config, live=replace(config.live, text_image_rows_per_step=30))
    model, tokenizers = make_model(config), make_tokenizers(config)
    with torch.no_grad():
        model.text_image_head.weight[tokenizers.text.image_id] *= 6  # fond of drawing
    session, done = Session(model, tokenizers, HOT, seed=7), 0
    for one in _inputs(5, 40):
        done += session.step(*one).image_done
    assert done > 3


def test_wrong_inputs_are_told_in_a_sentence(model: Omni, tokenizers: Tokenizers) -> None:
    session = Session(model, tokenizers)
    with pytest.raises(UserError, match="6000 samples"):
        session.step(np.zeros(5, np.float32))
    with pytest.raises(UserError, match="tokens"):
        session.step(np.zeros(STEP_SAMPLES, np.float32), text="word " * 5_000)
    assert session.now == 0 and session.decoder.cache.length == 0  # nothing was half taken in


def test_choosing() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    assert int(choose(logits, 0.0, 1.0, generator)) == 1
    drawn = [int(choose(logits, 1.0, 1.0, generator)) for _ in range(3_000)]
    shares = np.bincount(drawn, minlength=3) / 3_000
    np.testing.assert_allclose(shares, logits.softmax(-1)[0].numpy(), atol=0.03)
    assert {int(choose(logits, 1.0, 0.5, generator)) for _ in range(200)} == {1}
