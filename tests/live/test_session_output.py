"""What a session takes in and gives: within its bounds, whole, and told as what it is."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from conftest import FRACTIONAL, make_config, make_model, make_tokenizers

from quintet.config import MAX_TEXT_TOKENS, STEP_SAMPLES, OmniConfig, UserError
from quintet.live.decoder import Answer
from quintet.live.session import Session, Words
from quintet.model.omni import Omni
from quintet.timeline.streams import Modality
from quintet.tokenizers.bundle import Tokenizers

SILENCE = np.zeros(STEP_SAMPLES, np.float32)


@pytest.fixture(scope="module")
def session() -> Session:
    """One that is not stepped."""
    config = make_config()
    return Session(make_model(config), make_tokenizers(config))


def test_utterances_are_played_whole_each_from_its_own_beginning(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers
) -> None:
    session, rng, audio = Session(model, tokenizers), np.random.default_rng(9), config.audio
    late = audio.hop if STEP_SAMPLES % audio.hop else 0
    counts = [audio.frames_in(step) for step in range(3, 6)]
    for _ in range(2):
        codes = rng.integers(16, size=(sum(counts), 3)).astype(np.int32)
        parts = [*np.split(codes, np.cumsum(counts)[:-1]), []]
        played = np.concatenate([session._play(session._decode(list(part))) for part in parts])
        whole = tokenizers.audio.decode(torch.from_numpy(codes).long()[None])[0][0].numpy()
        np.testing.assert_allclose(played[late : late + len(whole)], whole, atol=1e-5)
        assert not played[:late].any() and not played[late + len(whole) :].any()


def test_a_message_ends_in_the_step_of_its_last_word(session: Session) -> None:
    text, inputs = session.tokenizers.text, session.read(SILENCE, None, None)
    words = text.encode("a cat")
    for ids, told in (
        (words, ("a cat", False)), ([text.end_id], ("", True)), ([], ("", False)),
        ([*words, text.end_id, *words], ("a cat" * 2, True)),
    ):  # fmt: skip
        made = Answer([(Modality.TEXT, token) for token in ids], [])
        out = session.output(inputs, made, None, 0.0)
        assert (out.text, out.text_ended) == told
        assert (out.counts["text_out"], out.counts["image_out"]) == (len(ids), 0)


def test_a_picture_is_done_with_its_last_code(session: Session) -> None:
    """And shown so, though another begins in the same step."""
    size, inputs = session.config.image.num_tokens, session.read(SILENCE, None, None)
    codes = np.random.default_rng(0).integers(16, size=2 * size).tolist()
    preview = session.tokenizers.image.preview
    for first, end, shown, done in (
        (0, size - 1, codes[: size - 1], False),
        (size - 1, size + 1, codes[:size], True),
        (size + 1, size + 2, codes[size : size + 2], False),
        (size + 2, 2 * size, codes[size:], True),
    ):
        made = Answer([(Modality.IMAGE, code) for code in codes[first:end]], [])
        out = session.output(inputs, made, None, 0.0)
        assert out.image is not None and out.image_done == done
        pixels = preview(shown).permute(1, 2, 0).numpy()
        assert np.abs(out.image - 255 * pixels).max() <= 0.5 + 1e-4
    assert session.output(inputs, Answer([], []), None, 0.0).image is None


def test_a_message_of_the_most_tokens_is_read(session: Session) -> None:
    encode, texts = session.tokenizers.text.encode, ("b" * n for n in range(2_000))
    text = next(text for text in texts if len(encode(text)) == MAX_TEXT_TOKENS - 1)
    assert len(session.read(SILENCE, None, text).text) == MAX_TEXT_TOKENS
    with pytest.raises(UserError, match="tokens"):
        session.read(SILENCE, None, text + "?")


def test_what_is_too_loud_is_heard_as_the_loudest(session: Session) -> None:
    sound = np.linspace(-3, 3, STEP_SAMPLES, dtype=np.float32)
    assert np.array_equal(session.read(sound, None, None).sound_S, sound.clip(-1, 1))
    nothing = session.read(sound, None, None)
    assert len(nothing.text) == len(nothing.image) == 0


def test_frames_are_counted_by_the_step_that_they_are_heard_in() -> None:
    config = make_config(FRACTIONAL)
    session = Session(make_model(config), make_tokenizers(config))
    inputs, counted = session.read(SILENCE, None, None), list[int]()
    for session.now in range(1, 6):
        counted.append(session.output(inputs, Answer([], []), None, 0.0).counts["audio_in"])
    assert counted == [config.audio.frames_in(step) for step in range(5)] and 18 in counted


def test_a_step_tells_how_long_it_took(model: Omni, tokenizers: Tokenizers) -> None:
    session, began = Session(model, tokenizers), time.perf_counter()
    assert 0 < session.step(SILENCE).seconds <= time.perf_counter() - began


def test_an_unfinished_character_does_not_leak_into_the_next_message(
    tokenizers: Tokenizers,
) -> None:
    text, words = tokenizers.text, Words(tokenizers)
    first_byte = text.encode("世")[0]
    assert words.push(first_byte) == ""
    assert words.push(text.end_id) == "\N{REPLACEMENT CHARACTER}"
    assert "".join(words.push(token) for token in text.encode("世 a")) == "世 a"


def test_words_wait_for_at_most_four_bytes(tokenizers: Tokenizers) -> None:
    text, words = tokenizers.text, Words(tokenizers)
    told = [words.push(token) for token in text.encode("🍎")]
    assert told[-1] == "🍎" and told[-4:-1] == ["", "", ""]  # four bytes, maybe a blank before
    stray = text.encode("🍎")[-4]  # the first byte, again and again: no character begins so
    assert [len(words.push(stray)) > 0 for _ in range(5)] == [False, False, False, True, False]
