"""A live session: its laws hold for any weights, so these are random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import FRACTIONAL, make_config, make_model, make_tokenizers

from quintet.config import (
    MAX_TEXT_TOKENS,
    PRESETS,
    STEP_SAMPLES,
    OmniConfig,
    TextConfig,
    UserError,
    load_preset,
)
from quintet.live.sampling import NEVER, Sampling
from quintet.live.session import Session, StepOutput
from quintet.model.embedding import RowTensors
from quintet.model.omni import Omni
from quintet.timeline.rows import Rows, concatenate
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import NOT_ASKED, live_sample
from quintet.timeline.timeline import live_order
from quintet.tokenizers.bundle import Tokenizers

HOT = Sampling(1.0, 1.0, 1.0, top_p=1.0, yield_above=NEVER)
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
    pictures = [out.image for out in (one, other) if out.image is not None]
    return (
        np.array_equal(one.audio, other.audio)
        and one.text == other.text
        and one.counts == other.counts
        and (not pictures or (len(pictures) == 2 and np.array_equal(*pictures)))
    )


class _Recorder:
    """Keeps every row that enters a session's cache, and the first step that it could see."""

    def __init__(self, session: Session) -> None:
        self.rows: list[Rows] = []
        self.hidden: list[torch.Tensor] = []
        self.first_step: list[int] = []
        self.image_id = session.tokenizers.text.image_id
        self.num_tokens = session.config.image.num_tokens
        extend = session.decoder.extend

        def record(rows: Rows) -> None:
            extend(rows)
            self.rows.append(rows)
            self.hidden.append(session.decoder.hidden_1D)
            self.first_step.append(int(session.decoder.cache.held()[0]))

        session.decoder.extend = record  # type: ignore[method-assign]

    def table(self) -> Rows:
        return concatenate(self.rows)

    def ends(self) -> np.ndarray:
        """The rows of the table that `hidden` belongs to: the last of each piece."""
        return np.cumsum([len(part) for part in self.rows]) - 1

    def check_pictures(self) -> int:
        """Every `image_id` is followed by one picture's codes, and none stand elsewhere; how
        many pictures there are. The last may be unfinished."""
        rows = self.table()
        rows = rows.take(rows.stream == Stream.TEXT_OUT)
        pictures, left = 0, 0
        for modality, token in zip(rows.modality, rows.tokens[:, 0], strict=True):
            assert (modality == Modality.IMAGE) == (left > 0)
            left -= left > 0
            if modality == Modality.TEXT and token == self.image_id:
                pictures, left = pictures + 1, self.num_tokens
        return pictures


@torch.no_grad()
def _lively(
    model: Omni, tokenizers: Tokenizers, silence: float = 0.9, pictures: float = 0.3
) -> None:
    """Silent and drawing by turns: plain random weights choose the same few entries.

    A row of a head along a direction in which hidden vectors differ has a logit that varies;
    a part along their mean sets its level, here beside the best of the other entries.
    """
    session = Session(model, tokenizers, HOT, seed=0)
    recorder = _Recorder(session)
    for one in _inputs(10, 6):
        session.step(*one)
    hidden_ND = torch.cat(recorder.hidden)
    mean_D = hidden_ND.mean(0)
    mean_D = mean_D / mean_D.square().sum()
    across_ND = hidden_ND - torch.outer(hidden_ND @ mean_D, mean_D / mean_D.square().sum())
    directions_DD = torch.linalg.svd(across_ND, full_matrices=False)[2]
    text, audio = model.text_image_head, model.audio_head.sub_heads[0]
    image_id = tokenizers.text.image_id
    rows = ((text, -1, silence), (text, image_id, pictures), (audio, -1, silence))
    for index, (head, entry, level) in enumerate(rows):
        best = head(hidden_ND).max(-1).values.mean()
        direction_D = directions_DD[2 + index]
        spread = (hidden_ND @ direction_D).std()
        head.weight[entry] = best * (level * mean_D + direction_D / spread)


def _check_against_one_pass(session: Session, recorder: _Recorder) -> None:
    """All rows in one pass, masked as the cache was: the same hidden vectors."""
    rows = recorder.table()
    assert np.array_equal(live_order(rows), np.arange(len(rows)))  # they came in live order
    assert set(rows.stream.tolist()) == {0, 1, 2, 3, 4}
    first = np.repeat(recorder.first_step, [len(part) for part in recorder.rows])
    allowed = np.tril(rows.step[None, :] >= first[:, None])
    with torch.no_grad():
        table = RowTensors.from_rows([rows])
        hidden = session.decoder.model(table, torch.from_numpy(allowed))[0][recorder.ends()]
    torch.testing.assert_close(torch.cat(recorder.hidden), hidden, rtol=1e-4, atol=1e-4)


def test_a_session_equals_its_rows_at_once(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers
) -> None:
    session = Session(model, tokenizers, HOT, seed=1)
    recorder = _Recorder(session)
    for audio, image, text in _inputs(0, 14):
        session.step(audio, image, text)
    steps, first = recorder.table().step[recorder.ends()], np.array(recorder.first_step)
    assert np.array_equal(first, (steps - config.live.window_steps + 1).clip(0))
    _check_against_one_pass(session, recorder)


def test_a_session_that_runs_out_of_room_equals_its_rows_at_once(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers
) -> None:
    """The cache forgets steps before their time is over; nothing else may change."""
    live = replace(config.live, window_steps=40, max_rows=config.rows_of_fullest_step)
    model.config = replace(config, live=live)
    session = Session(model, tokenizers, HOT, seed=1)
    recorder = _Recorder(session)
    for audio, image, _ in _inputs(0, 12):
        session.step(audio, image, "draw a cat. " * 20)
    assert recorder.first_step[-1] > 5 and session.decoder.cache.length <= live.max_rows
    _check_against_one_pass(session, recorder)


def test_no_output_never_enters_the_cache(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers
) -> None:
    _lively(model, tokenizers, silence=2.6, pictures=-1.0)
    session = Session(model, tokenizers, HOT, seed=2)
    recorder = _Recorder(session)
    outputs = [session.step(*one) for one in _inputs(1, 30)]
    rows = recorder.table()
    audio = rows.modality == 2
    assert rows.tokens[audio].max() < config.audio.codebook_size
    assert rows.tokens[~audio, 0].max() < config.text_image_vocab_size
    assert len(rows) == sum(sum(out.counts.values()) for out in outputs)
    made = [sum(v for k, v in out.counts.items() if k.endswith("_out")) for out in outputs]
    silent = [out for out, count in zip(outputs, made, strict=True) if not count]
    assert 0 < len(silent) < len(outputs)
    assert not any(out.speaking or out.text or out.image is not None for out in silent)


@torch.no_grad()
def test_the_tip_loop_asks_what_training_asked(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers
) -> None:
    """A greedy session's rows, as a training sample: each head's likeliest entry where it is
    asked is the target there, `No Output` included."""
    _lively(model, tokenizers)
    session = Session(model, tokenizers, Sampling(0, 0, 0, yield_above=NEVER))
    recorder = _Recorder(session)
    for one in _inputs(7, STEPS):
        session.step(*one)
    rows, vocabulary = recorder.table(), model.vocabulary
    budget = config.live.text_image_rows_per_step
    sample = live_sample(rows, budget, config.audio.frames_in, vocabulary)
    hidden = dict(zip(recorder.ends().tolist(), recorder.hidden, strict=True))
    first_code, left = config.text.vocab_size, 0
    for row in np.flatnonzero(sample.text_target != NOT_ASKED).tolist():
        logits = model.text_image_head(hidden[row])[0].clone()
        if left:
            logits[:first_code], logits[-1] = -torch.inf, -torch.inf
        else:
            logits[tokenizers.text.vocab_size : -1] = -torch.inf
        target = int(sample.text_target[row])
        assert int(logits.argmax()) == target
        left = config.image.num_tokens if target == tokenizers.text.image_id else max(0, left - 1)
    for row in np.flatnonzero(sample.audio_target[:, 0] != NOT_ASKED).tolist():
        target = torch.from_numpy(sample.audio_target[row]).long()
        logits_QK = model.audio_head(hidden[row], target[None])[0].clone()
        logits_QK[1:, -1] = -torch.inf
        if int(target[0]) == vocabulary.audio_no_output:
            logits_QK, target = logits_QK[:1], target[:1]
        assert torch.equal(logits_QK.argmax(-1), target)
    assert (sample.text_target == vocabulary.text_no_output).sum() > 1
    assert (sample.audio_target[:, 0] == vocabulary.audio_no_output).sum() > 1
    assert recorder.check_pictures() and (rows.stream == Stream.AUDIO_OUT).any()


def test_sessions_do_not_hear_each_other(model: Omni, tokenizers: Tokenizers) -> None:
    _lively(model, tokenizers)
    alone = Session(model, tokenizers, HOT, seed=3)
    expected = [alone.step(*one) for one in _inputs(2)]
    assert any(out.image is not None for out in expected)
    mine, other = Session(model, tokenizers, HOT, seed=3), Session(model, tokenizers, HOT, seed=4)
    for (own, foreign), expect in zip(zip(_inputs(2), _inputs(3), strict=True), expected,
                                      strict=True):  # fmt: skip
        assert _same(mine.step(*own), expect)
        other.step(*foreign)


def test_what_is_heard_in_a_step_is_answered_in_the_next() -> None:
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


def test_a_full_cache_forgets_its_oldest_steps_first() -> None:
    """A picture and a long message in every step: more rows than the window's steps may hold."""
    config = make_config(window_steps=40)
    config = replace(config, live=replace(config.live, max_rows=600))
    model, tokenizers = make_model(config), make_tokenizers(config)
    session, picture = Session(model, tokenizers, HOT, seed=6), np.zeros((9, 9, 3), np.uint8)
    cache = session.decoder.cache
    for step in range(30):
        out = session.step(np.zeros(STEP_SAMPLES, np.float32), picture, "draw a cat. " * 20)
        assert cache.length <= 600
        kept = torch.from_numpy(cache.held())
        assert (kept.diff() >= 0).all() and set(kept.tolist()) == set(range(int(kept[0]), step + 2))
        assert out.counts["image_in"] == config.image.num_tokens
    assert int(cache.held()[0]) > 20  # it did forget


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_the_cache_holds_the_fullest_step(preset: str) -> None:
    config = load_preset(preset)
    live, frames = config.live, max(config.audio.frames_in(step) for step in range(8))
    fullest = MAX_TEXT_TOKENS + config.image.num_tokens + 2 * frames + live.text_image_rows_per_step
    assert fullest == config.rows_of_fullest_step <= live.max_rows
    with pytest.raises(UserError, match="max_rows"):
        replace(config, live=replace(live, max_rows=fullest - 1))
    with pytest.raises(UserError, match="window_steps"):
        replace(live, window_steps=0)


def test_a_picture_once_begun_is_finished_and_the_next_may_follow() -> None:
    """Random weights at high temperature draw often; no picture ever has too many codes."""
    config = make_config()
    config = replace(config, live=replace(config.live, text_image_rows_per_step=30))
    model, tokenizers = make_model(config), make_tokenizers(config)
    _lively(model, tokenizers)
    session, done = Session(model, tokenizers, HOT, seed=7), 0
    recorder = _Recorder(session)
    for one in _inputs(5, STEPS):
        out = session.step(*one)
        done += out.image_done
        assert (out.image is not None) == (out.counts["image_out"] > 0)  # shown as it grows
    assert done > 3 and recorder.check_pictures() > 3


def test_a_picture_is_shown_in_all_its_shades(model: Omni, tokenizers: Tokenizers) -> None:
    session = Session(model, tokenizers)
    session._picture = [3, 1, 2]
    pixels = tokenizers.image.preview(session._picture).permute(1, 2, 0).numpy()
    assert np.abs(session._preview() - 255 * pixels).max() <= 0.5 + 1e-4


def test_entries_that_the_text_tokenizer_left_free_are_never_said() -> None:
    """Training asks for at most so many entries; a small text has fewer."""
    config = replace(make_config(), text=TextConfig(400))
    model = make_model(config)
    tokenizers = replace(make_tokenizers(config), text=make_tokenizers(make_config()).text)
    known = tokenizers.text.vocab_size
    with torch.no_grad():
        model.text_image_head.weight[known:400] *= 6
    session = Session(model, tokenizers, HOT, seed=8)
    recorder = _Recorder(session)
    for one in _inputs(6, 6):
        session.step(*one)
    rows = recorder.table()
    said = rows.tokens[(rows.stream == Stream.TEXT_OUT) & (rows.modality == Modality.TEXT), 0]
    assert len(said) > 3 and said.max() < known < 400


def test_speech_without_whole_frames_a_step_equals_the_whole() -> None:
    config = make_config(FRACTIONAL)
    model, tokenizers = make_model(config), make_tokenizers(config)
    session, rng = Session(model, tokenizers), np.random.default_rng(9)
    counts = [config.audio.frames_in(step) for step in range(3, 10)]
    assert set(counts) == {18, 19}
    codes = rng.integers(16, size=(sum(counts), 3)).astype(np.int32)
    parts = np.split(codes, np.cumsum(counts)[:-1])
    steps = [session._play(session._decode(list(part))) for part in [*parts, []]]
    assert all(sound.shape == (STEP_SAMPLES,) for sound in steps)
    whole = tokenizers.audio.decode(torch.from_numpy(codes).long()[None])[0][0].numpy()
    played, hop = np.concatenate(steps), config.audio.hop
    np.testing.assert_allclose(played[hop : hop + len(whole)], whole, atol=1e-5)
    assert not played[:hop].any() and not played[hop + len(whole) :].any()
    assert not session._play(session._decode([])).any()


def test_wrong_inputs_are_told_in_a_sentence(model: Omni, tokenizers: Tokenizers) -> None:
    session = Session(model, tokenizers)
    with pytest.raises(UserError, match="6000 samples"):
        session.step(np.zeros(5, np.float32))
    with pytest.raises(UserError, match="tokens"):
        session.step(np.zeros(STEP_SAMPLES, np.float32), text="word " * 5_000)
    for text in (5, 0, []):
        with pytest.raises(UserError, match="A text is a string"):
            session.step(np.zeros(STEP_SAMPLES, np.float32), text=text)  # type: ignore[arg-type]
    silence = np.zeros(STEP_SAMPLES, np.float32)
    for audio in (np.zeros(STEP_SAMPLES, np.int16), silence[None], silence + np.nan, [0.0]):
        with pytest.raises(UserError):
            session.step(audio)  # type: ignore[arg-type]
    for image in (np.zeros((9, 9, 3)), np.zeros((9, 9), np.uint8), np.zeros((0, 9, 3), np.uint8)):
        with pytest.raises(UserError):
            session.step(silence, image)
    assert session.now == 0 and session.decoder.cache.length == 0  # nothing was half taken in


def test_a_step_asks_for_as_much_room_as_it_may_take() -> None:
    config = make_config(FRACTIONAL)
    tokenizers = make_tokenizers(config)
    session, asked = Session(make_model(config), tokenizers, HOT, seed=2), list[int]()
    session.decoder.cache.make_room = asked.append  # type: ignore[method-assign,assignment]
    for step, (sound, picture, text) in enumerate(_inputs(11, 3)):
        session.step(sound, picture, text)
        heard, spoken = (config.audio.frames_in(at) for at in (step, step + 1))
        words = len(tokenizers.text.encode(text)) + 1 if text else 0
        seen = config.image.num_tokens if picture is not None else 0
        budget = config.live.text_image_rows_per_step
        assert asked.pop() == words + seen + heard + budget + spoken
