"""Turn mode, row by row: what is read in, when it is, and what comes of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from quintet.config import STEP_SAMPLES, OmniConfig
from quintet.live.sampling import Sampling
from quintet.live.turns import TurnReply, _Conversation, answer_rows, chat
from quintet.model.omni import Omni
from quintet.timeline.rows import Rows, concatenate, single_column
from quintet.timeline.streams import Modality, Stream
from quintet.tokenizers.bundle import Tokenizers


class _Watched(_Conversation):
    """Keeps the rows that are read."""

    def __init__(self, model: Omni, tokenizers: Tokenizers) -> None:
        super().__init__(model, tokenizers, Sampling(), 0)
        self.read: list[Rows] = []
        extend = self.decoder.extend

        def keep(rows: Rows) -> None:
            self.read.append(rows)
            extend(rows)

        self.decoder.extend = keep  # type: ignore[method-assign]

    def rows(self) -> Rows:
        return concatenate(self.read)


@pytest.fixture
def conversation(model: Omni, tokenizers: Tokenizers) -> _Watched:
    return _Watched(model, tokenizers)


def test_a_sound_is_read_from_its_first_sample_in_its_own_time(conversation: _Watched) -> None:
    sound = np.random.default_rng(0).normal(0, 0.2, 5 * STEP_SAMPLES + 9).astype(np.float32)
    conversation.add("assistant", sound)
    rows, audio = conversation.rows(), conversation.config.audio
    codes = conversation.tokenizers.encode_audio(np.pad(sound, (0, STEP_SAMPLES - 9)))
    assert np.array_equal(rows.tokens, codes)
    assert rows.step.tolist() == [step for step in range(6) for _ in range(audio.frames_in(step))]
    assert set(rows.stream.tolist()) == {Stream.AUDIO_OUT}


@torch.no_grad()
def test_an_answer_is_counted_told_and_waits_for_others(conversation: _Watched) -> None:
    conversation.add("user", "hello.")
    conversation.decoder.picture_left = conversation.config.image.num_tokens  # it begins with one
    read, told, pauses = len(conversation.read), list[str](), list[int]()
    conversation.pause = lambda: pauses.append(len(conversation.read))
    reply = conversation.answer(9, 7, tell=told.append)
    made = concatenate(conversation.read[read:])
    kinds = Counter(Modality(kind).name.lower() for kind in made.modality.tolist())
    assert kinds["text"] and kinds["image"] and kinds["audio"] == 7
    assert {f"{kind}_out": kinds[kind] for kind in ("text", "image", "audio")} == {
        kind: count for kind, count in reply.counts.items() if kind.endswith("out")
    }
    assert pauses == list(range(read, len(conversation.read)))  # one before each row
    assert "".join(told) == reply.text and len(told) > 1
    is_sound = made.modality == Modality.AUDIO
    assert not made.step[~is_sound].any()
    step_of = conversation.config.audio.step_of
    assert made.step[is_sound].tolist() == [step_of(frame) for frame in range(7)]


def test_a_sound_waits_for_others_before_each_of_its_steps(conversation: _Watched) -> None:
    pauses = list[int]()
    conversation.pause = lambda: pauses.append(len(conversation.read))
    conversation.add("assistant", np.full(4 * STEP_SAMPLES + 9, 0.1, np.float32))
    assert len(conversation.read) == 5
    # Before it, before codes of each half second are made, and before those of each step are read.
    assert pauses == [0, 0, 0, 0, 0, 1, 2, 3, 4]


def test_frames_are_their_sound_and_none_are_none(conversation: _Watched) -> None:
    frames = np.random.default_rng(0).integers(16, size=(5, 3))
    with torch.no_grad():
        heard = conversation._sound(frames)
        sound_S = conversation.tokenizers.audio.decode(torch.from_numpy(frames)[None])[0].flatten()
    assert np.array_equal(heard, sound_S.numpy())
    assert len(conversation._sound(frames[:0])) == 0


def test_a_chat_waits_before_each_part_that_it_reads(
    model: Omni, tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[int] = []
    reply = TurnReply("So.", [], np.zeros(0, np.float32))
    monkeypatch.setattr(_Conversation, "answer", lambda own, **_: reply)
    said: list[dict[str, object]] = [
        {"role": "user", "content": ["a", "b"]}, {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]  # fmt: skip
    assert chat(model, tokenizers, said, Sampling(), 0, pause=lambda: pauses.append(1)) is reply
    assert len(pauses) == 4


@torch.no_grad()
@pytest.mark.parametrize("frames", [0, 5])
def test_rows_are_answered_as_the_message_that_they_are(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers, frames: int
) -> None:
    conversation, text = _Watched(model, tokenizers), tokenizers.text
    conversation.add("user", "hello.")
    ids = single_column(np.array([*text.encode("hello."), text.end_id]), 3)
    request = _Watched(model, tokenizers).decoder.rows(Stream.TEXT_IN, Modality.TEXT, ids, 0)
    words = Stream.TEXT_OUT if frames else Stream.TEXT_IN
    reply, expected = (
        answer_rows(model, tokenizers, request, 6, frames), conversation.answer(6, frames, words),
    )  # fmt: skip
    assert reply.text == expected.text and np.array_equal(reply.audio, expected.audio)
    assert reply.text or reply.counts["image_out"]
    assert reply.codes.shape == (reply.counts["audio_out"], 3)
    assert np.array_equal(conversation._sound(reply.codes), reply.audio)
