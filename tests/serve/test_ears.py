"""What waits in the input buffer of a session, in pieces of any size and under any settings."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from scripted_output import silent
from talk import Talk

from quintet.config import STEP_SAMPLES
from quintet.serve.api.settings import AudioInput
from quintet.serve.protocol import encode_sound
from quintet.serve.realtime.ears import Ears, Spoken
from quintet.serve.realtime.items import parse_item

PUSH_TO_TALK = AudioInput(turn_detection=None)
SECOND = 2 * 24_000  # bytes
LOUD = encode_sound(0.3 * np.sin(np.arange(STEP_SAMPLES) / 9).astype(np.float32))
QUIET = bytes(2 * STEP_SAMPLES)


def test_pieces_without_end_and_without_sound_cost_little() -> None:
    ears, rng = Ears(PUSH_TO_TALK), np.random.default_rng(0)
    samples = rng.integers(-9_000, 9_000, 30_000).astype("<i2").tobytes()
    for _ in range(5_000):
        ears.append(b"")
    for start in range(0, len(samples), 6):
        ears.append(samples[start : start + 6])
    assert len(ears._gathered) < 20
    spoken = ears.commit()
    assert spoken is not None
    assert (spoken.sound * 32_768).astype("<i2").tobytes() == samples


def test_what_push_to_talk_took_over_is_no_longer_committed() -> None:
    ears = Ears(AudioInput())
    ears.append(bytes(5 * SECOND))
    assert ears.commit() is None  # a turn, once it was heard
    ears.configure(PUSH_TO_TALK)
    assert ears.commit() is not None
    ears.configure(AudioInput())
    ears.append(bytes(SECOND))
    assert ears.commit() is None  # and not "less than 100 ms"
    heard = [one for _ in range(8) for one in ears.step()[1]]
    assert [type(one) for one in heard] == [Spoken]


@pytest.mark.parametrize("speaks", [False, True])
def test_a_sound_that_was_sent_as_an_item_delays_the_microphone_no_longer_than_it_lasts(
    speaks: bool,
) -> None:
    talk, ends = Talk(), "input_audio_buffer.speech_stopped"
    sound = base64.b64encode(LOUD * 40).decode()
    item = {"type": "message", "role": "user",
            "content": [{"type": "input_audio", "audio": sound}]}  # fmt: skip
    talk.dialogue.create(parse_item(item), None)
    talk.dialogue.respond(None, None)
    for step in range(40):  # ten seconds, of which the person may speak for one
        talk.dialogue.ears.append(LOUD if speaks and 10 <= step < 14 else QUIET)
        talk.step(silent())
    assert all(heard for heard, _, _ in talk.given)
    for _ in range(8):
        talk.dialogue.ears.append(QUIET)
        talk.step(silent())
    assert talk.kinds().count(ends) == speaks
    assert len(talk.dialogue.ears.queue) <= 2 * STEP_SAMPLES
    talk.hear(*[LOUD] * 4, *[QUIET] * 3)
    assert talk.kinds().count(ends) == speaks + 1
