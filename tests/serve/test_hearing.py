"""Sound on its way to the model: formats, the queue before the clock, and the ear for speech."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.serve.protocol import encode_sound
from quintet.serve.realtime.formats import (
    ALAW,
    LEVELS,
    MULAW,
    SoundDecoder,
    SoundEncoder,
    decode_base64,
    encode_g711,
)
from quintet.serve.realtime.hearing import MAX_SECONDS, InputQueue, SpeechDetector
from quintet.serve.realtime.problems import RequestError

TONE = 0.3 * np.sin(np.arange(STEP_SAMPLES) / 9).astype(np.float32)
STILL = np.zeros(STEP_SAMPLES, np.float32)


@pytest.mark.parametrize("kind", [MULAW, ALAW])
def test_g711_gives_every_level_back(kind: str) -> None:
    levels = LEVELS[kind]
    again = np.frombuffer(encode_g711(levels / 32_767, kind), np.uint8)
    assert (levels[again] == levels).all()


def test_g711_is_that_of_the_standard() -> None:
    audioop = pytest.importorskip("audioop", reason="Python has no audioop from 3.13 on")
    data = bytes(range(256))
    for kind, decode in ((MULAW, audioop.ulaw2lin), (ALAW, audioop.alaw2lin)):
        assert (np.frombuffer(decode(data, 2), "<i2") == LEVELS[kind]).all()
    assert encode_g711(np.zeros(1, np.float32), MULAW) == b"\xff"
    # Encoders of the standard cut off where ours take the nearest level: one level apart at most.
    samples = np.arange(-32_768, 32_768, 7)
    theirs = audioop.lin2ulaw(samples.astype("<i2").tobytes(), 2)
    ours = encode_g711(samples / 32_767, MULAW)
    far = (
        LEVELS[MULAW][np.frombuffer(ours, np.uint8)]
        - LEVELS[MULAW][np.frombuffer(theirs, np.uint8)]
    )
    assert np.abs(far).max() <= 1_024


def test_a_stream_in_pieces_is_the_stream_whole() -> None:
    data = encode_sound(TONE)
    decoder = SoundDecoder()
    pieces = [decoder.decode(data[start : start + 333]) for start in range(0, len(data), 333)]
    assert np.abs(np.concatenate(pieces) - TONE).max() < 1e-4
    for kind in (MULAW, ALAW):
        coder, back = SoundEncoder(kind), SoundDecoder(kind)
        sent = coder.encode(TONE) + coder.encode(TONE) + coder.encode(STILL[:0], last=True)
        assert len(sent) == 4_000
        heard = np.concatenate([back.decode(sent), back.finish()])
        assert len(heard) == 2 * STEP_SAMPLES
        assert np.corrcoef(heard[:STEP_SAMPLES], TONE)[0, 1] > 0.99
    with pytest.raises(RequestError, match="not valid base64"):
        decode_base64("é", "audio")


def test_a_file_is_played_whole_pauses_included() -> None:
    queue = InputQueue()
    queue.push(np.concatenate([TONE, *[STILL] * 8, TONE]))
    played = [queue.take().any() for _ in range(11)]
    assert played == [True, *[False] * 8, True, False]
    assert queue.taken == 10 * STEP_SAMPLES


def test_only_what_was_lost_is_caught_up_with() -> None:
    queue = InputQueue()
    queue.push(TONE)
    queue.take(), queue.take()
    for _ in range(3):
        assert not queue.take().any()  # the network is late
    queue.push(np.concatenate([TONE, *[STILL] * 8, TONE]))
    played = [queue.take().any() for _ in range(8)]
    assert played.count(True) == 2 and played[0]
    assert 4 <= played.index(True, 1) < 9  # the pause is shorter by the steps that were lost
    queue.lose(2)  # the model was late
    queue.push(np.concatenate([TONE, *[STILL] * 8, TONE]))
    assert [queue.take().any() for _ in range(12)].index(True, 1) < 9


def test_the_queue_has_a_bound() -> None:
    queue = InputQueue()
    queue.push(np.zeros(MAX_SECONDS * SAMPLE_RATE, np.float32))
    with pytest.raises(RequestError) as refused:
        queue.push(TONE)
    assert refused.value.code == "input_audio_buffer_full"
    queue.clear()
    queue.push(TONE)


def test_speech_begins_and_ends_where_it_does() -> None:
    detector = SpeechDetector(silence_ms=500)
    assert detector.hear(STILL).started == -1
    half = np.concatenate([STILL[:3_000], TONE[:3_000]])
    turn = detector.hear(half)
    assert abs(turn.started - 12) <= 6 and detector.speaking
    assert detector.hear(TONE).stopped == -1
    assert detector.hear(STILL).stopped == -1
    assert detector.hear(STILL).stopped == 24  # 500 ms, to the frame


def test_clicks_and_a_noisy_room_are_no_speech() -> None:
    detector = SpeechDetector()
    click = STILL.copy()
    click[1_000:1_400] = 0.8
    assert detector.hear(click).started == -1
    noise = 0.004 * np.random.default_rng(0).standard_normal((40, STEP_SAMPLES)).astype(np.float32)
    assert not any(detector.hear(step).started >= 0 for step in noise)
    assert detector.hear(noise[0] + 0.03 * TONE).started == -1  # hardly louder than the room
    assert detector.hear(noise[0] + TONE).started >= 0
    deaf = SpeechDetector(threshold=1.0)
    assert deaf.hear(0.05 * TONE).started == -1
