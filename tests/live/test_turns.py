"""Turn mode: what it was given is counted and bounded, its words are told while it writes them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from conftest import make_config, make_model, make_tokenizers, needs_world

import quintet
from quintet.config import STEP_SAMPLES, UserError
from quintet.live.decoder import Answer
from quintet.live.sampling import Sampling
from quintet.live.turns import (
    MAX_ANSWER_FRAMES,
    MAX_ANSWER_ROWS,
    MAX_ROWS,
    TurnReply,
    _checked,
    _Conversation,
    chat,
)
from quintet.media.speech import Voice, synthesize
from quintet.timeline.streams import Modality


@pytest.mark.parametrize("order", ["say banana.", "draw a cat."])
def test_words_that_are_told_are_those_of_the_reply(order: str) -> None:
    model, told = quintet.load("nano"), list[str]()
    messages: list[dict[str, object]] = [{"role": "user", "content": order}]
    reply = model.chat(messages, seed=1, tell=told.append)
    assert "".join(told) == reply.text and len(told) > 1
    silent = model.chat(messages, seed=1)
    assert silent.text == reply.text and np.array_equal(silent.audio, reply.audio)


@pytest.fixture(scope="module")
def conversation() -> _Conversation:
    config = make_config()
    return _Conversation(make_model(config), make_tokenizers(config), Sampling(), 0)


def test_what_was_said_leaves_room_for_the_answer(conversation: _Conversation) -> None:
    most = MAX_ROWS - MAX_ANSWER_ROWS - MAX_ANSWER_FRAMES - conversation.decoder.cache.length
    conversation._make_room(most)
    with pytest.raises(UserError, match="too long"):
        conversation._make_room(most + 1)


def test_only_finished_pictures_are_given(conversation: _Conversation) -> None:
    size, text = conversation.config.image.num_tokens, conversation.tokenizers.text
    for codes in (0, size - 1, size, 2 * size, 2 * size + 1):
        made = [(Modality.TEXT, token) for token in text.encode("a cat")]
        made += [(Modality.IMAGE, index % 16) for index in range(codes)]
        words, images = conversation._words_and_pictures(Answer(made, []))
        assert words == "a cat" and len(images) == codes // size
        for index, image in enumerate(images):
            own = [token for _, token in made[-codes:]][index * size : (index + 1) * size]
            pixels = conversation.tokenizers.image.preview(own).permute(1, 2, 0).numpy()
            assert image.dtype == np.uint8 and np.abs(image - 255 * pixels).max() <= 0.5 + 1e-4


def test_what_is_given_is_counted_by_kind(conversation: _Conversation) -> None:
    before, length = conversation.counts.copy(), conversation.decoder.cache.length
    text, audio = conversation.tokenizers.text, conversation.config.audio
    conversation.add("user", "a cat")
    conversation.add("user", np.zeros((9, 9, 3), np.uint8))
    conversation.add("user", np.full(STEP_SAMPLES, 0.1, np.float32))
    added = conversation.counts - before
    pictures = conversation.config.image.num_tokens
    words = len(text.encode("a cat")) + 2  # the end of the message, the beginning of the picture
    sound = audio.frames_before(3)  # a step of silence before and after
    assert added == {"text_in": words, "image_in": pictures, "audio_in": sound}
    assert conversation.decoder.cache.length - length == words + pictures + sound
    with pytest.raises(UserError, match="no length"):
        conversation.add("user", np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "last message must be the user's"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "last message"),
        ([{"role": "king", "content": "a"}, {"role": "user", "content": "b"}], "role 'king'"),
        ([{"role": "user", "content": ["", " \n"]}], "empty"),
        ([{"role": "user", "content": ["a", 3]}], "not a text"),
    ],
)
def test_what_is_no_conversation(
    messages: list[dict[str, object]], says: str, conversation: _Conversation
) -> None:
    with pytest.raises(UserError, match=says):
        chat(conversation.decoder.model, conversation.tokenizers, messages, Sampling(), 0)


def test_words_are_read_after_what_is_shown() -> None:
    model, picture = quintet.load("nano"), np.full((48, 48, 3), 200, np.uint8)
    asked: list[object] = ["what is this?", picture]
    first, second = (
        model.chat([{"role": "user", "content": parts}], seed=2) for parts in (asked, asked[::-1])
    )
    assert first.text == second.text and first.counts == second.counts


@needs_world
@pytest.mark.parametrize("order_first", [True, False])
def test_what_is_said_is_written_down(order_first: bool) -> None:
    said = ["what is this?", "count to five.", "please repeat: a yellow flower."]
    written, model = list[str](), quintet.load("nano")
    for words in said:
        parts: list[object] = ["transcribe this.", synthesize(words, Voice("en+m8"))]
        content = parts if order_first else parts[::-1]
        written.append(model.chat([{"role": "user", "content": content}]).text.strip())
    assert written == said


@needs_world
def test_what_is_said_at_once_is_answered() -> None:
    """Files of synthesized speech begin with a word; most were met with silence once."""
    model, things, drawn = quintet.load("nano"), ("cat", "bus", "rocket", "tree", "dog"), 0
    for thing in things:
        asked = synthesize(f"draw a {thing}.", Voice("en+m8"))
        reply = model.chat([{"role": "user", "content": [asked]}])
        drawn += reply.text == f"Here is a {thing}." and len(reply.images) == 1
    assert drawn >= len(things) - 1


def test_only_what_the_user_gives_is_put_in_order() -> None:
    picture, words = np.zeros((9, 9, 3), np.uint8), "a cat"
    speech = synthesize("what is this?", Voice("en"))
    for given in permutations([picture, words, speech]):
        for role, read in (("user", (picture, words, speech)), ("assistant", given)):
            parts = _checked({"role": role, "content": given})[1]
            assert all(p is q for p, q in zip(parts, read, strict=True))
    silence = np.zeros(9, np.float32)  # stands before what is to be answered
    assert _checked({"role": "user", "content": [words, silence]})[1] == [silence, words]


def test_a_conversation_that_it_does_not_know_still_gets_an_answer() -> None:
    model = quintet.load("nano")
    said = [("user", "hello."), ("assistant", "Hello, how are you?"), ("user", "draw a cat.")]
    messages: list[dict[str, object]] = [{"role": r, "content": text} for r, text in said]
    reply = model.chat(messages, seed=0)
    assert "cat" in reply.text and len(reply.images) == 1
    with pytest.raises(UserError, match="empty"):
        model.chat([{"role": "user", "content": ""}, messages[-1]])


HEARD = TurnReply("So.", [], np.zeros(0, np.float32))
SILENCE = TurnReply("", [], np.zeros(0, np.float32))
SPOKEN = TurnReply("", [], np.ones(9, np.float32))


@pytest.mark.parametrize(
    ("messages", "replies", "asked"),
    [
        (3, [HEARD], [3]),
        (3, [SPOKEN], [3]),  # without a word is not without an answer
        (3, [SILENCE, HEARD], [3, 1]),
        (2, [SILENCE, HEARD], [2, 1]),
        (3, [SILENCE, SILENCE], [3, 1]),
        (1, [SILENCE], [1]),
    ],
)
def test_only_silence_to_several_messages_is_asked_again(
    messages: int, replies: list[TurnReply], asked: list[int], conversation: _Conversation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    read, left = list[int](), replies.copy()

    def answer(own: _Conversation, **_: object) -> TurnReply:
        read.append(own.counts["text_in"])  # messages, as each is made to be one row
        return left.pop(0)

    def add(own: _Conversation, *_: object) -> None:
        own.counts["text_in"] += 1

    monkeypatch.setattr(_Conversation, "answer", answer)
    monkeypatch.setattr(_Conversation, "add", add)
    said: list[dict[str, object]] = [{"role": "user", "content": "a"}] * messages
    reply = chat(conversation.decoder.model, conversation.tokenizers, said, Sampling(), 0)
    assert reply is replies[-1] and read == asked
