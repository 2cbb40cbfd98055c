"""What waits in the input buffer of a session, in pieces of any size and under any settings."""

from __future__ import annotations

import numpy as np

from quintet.serve.api.settings import AudioInput
from quintet.serve.realtime.ears import Ears, Spoken

PUSH_TO_TALK = AudioInput(turn_detection=None)
SECOND = 2 * 24_000  # bytes


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
