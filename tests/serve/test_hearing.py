"""Sound on its way to the model: formats, the queue before the clock, and the ear for speech."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.serve.api.formats import (
    ALAW,
    LEVELS,
    MULAW,
    SoundDecoder,
    SoundEncoder,
    decode_base64,
    encode_g711,
)
from quintet.serve.api.hearing import (
    FRAME,
    LONGEST_GAP,
    MAX_SECONDS,
    Change,
    InputQueue,
    SpeechDetector,
)
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import AudioInput
from quintet.serve.protocol import encode_sound
from quintet.serve.realtime.ears import Ears, Spoken, Started, Stopped
from quintet.serve.rest.sound_api import spoken_pieces

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


def test_a_model_that_was_late_for_long_passes_over_little() -> None:
    queue = InputQueue()
    queue.push(np.concatenate([TONE, *[STILL] * 30, TONE]))
    assert queue.take().any()
    queue.lose(100)
    assert [queue.take().any() for _ in range(31)].index(True) == 30 - LONGEST_GAP


def _heard_after(queue: InputQueue, held: list[np.ndarray], then: list[np.ndarray]) -> np.ndarray:
    """All that is heard of a microphone, of which something else was played first."""
    queue.push(STILL)
    queue.take(), queue.take()
    for step in held:
        queue.push(step)
        queue.hold()
    heard = []
    for step in then:
        queue.push(step)
        heard.append(queue.take())
    return np.concatenate(heard)


def test_quiet_does_not_wait_while_something_else_is_played() -> None:
    queue = InputQueue()
    _heard_after(queue, [STILL] * (MAX_SECONDS * 4 + 20), [STILL])
    assert len(queue) <= 2 * STEP_SAMPLES and queue.taken >= MAX_SECONDS * SAMPLE_RATE


@pytest.mark.parametrize(("before", "after"), [(0, 0), (20, 0), (0, 20), (10, 10)])
def test_what_was_said_meanwhile_is_heard_whole_and_caught_up_with(before: int, after: int) -> None:
    """However long something else was played; in a pause, for speech is not passed over."""
    queue, speech = InputQueue(), [TONE * loudness for loudness in np.linspace(0.3, 1, 24)]
    held = [*[STILL] * before, *speech, *[STILL] * after]
    heard = _heard_after(queue, held, [*[TONE] * 40, *[STILL] * 40])
    said = heard[np.abs(heard) > 0]
    expected = np.concatenate([*speech, *[TONE] * 40])
    np.testing.assert_array_equal(said, expected[np.abs(expected) > 0])
    assert len(queue) <= 2 * STEP_SAMPLES


def test_a_file_that_did_not_wait_keeps_its_pauses() -> None:
    queue = InputQueue()
    for _ in range(40):
        queue.hold()  # nothing came meanwhile
    queue.push(np.concatenate([TONE, *[STILL] * 8, TONE]))
    assert [queue.take().any() for _ in range(10)] == [True, *[False] * 8, True]
    queue.push(TONE)
    queue.hold()
    while len(queue):
        queue.take()
    queue.push(np.concatenate([TONE, *[STILL] * 8, TONE]))  # what waited has been heard
    assert [queue.take().any() for _ in range(12)].index(True, 2) >= 9


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
    assert detector.hear(STILL) == []
    half = np.concatenate([STILL[:3_000], TONE[:3_000]])
    (begun,) = detector.hear(half)
    assert begun.begins and abs(begun.frame - 12) <= 6 and detector.speaking
    assert detector.hear(TONE) == detector.hear(STILL) == []
    assert detector.hear(STILL) == [Change(False, 24)]  # 500 ms, to the frame


@pytest.mark.parametrize("late", range(0, 25, 4))
def test_a_pause_that_ends_a_turn_and_is_over_at_once_loses_nothing(late: int) -> None:
    """Whatever part of a step it ends in: both turns are told in order, and heard to their end."""
    lead, pause = STILL.repeat(2)[: 6_000 + late * FRAME], np.zeros(SAMPLE_RATE // 2, np.float32)
    sound = np.concatenate([lead, *[TONE] * 3, pause, *[TONE] * 6, *[STILL] * 4])
    sound = np.pad(sound, (0, -len(sound) % STEP_SAMPLES))
    ears = Ears(AudioInput())
    ears.append(encode_sound(sound))
    heard = [one for _ in range(len(sound) // STEP_SAMPLES + 2) for one in ears.step()[1]]
    assert [type(one) for one in heard] == [Started, Stopped, Spoken] * 2
    assert len({one.item_id for one in heard[:3]}) == len({one.item_id for one in heard[3:]}) == 1
    assert isinstance(heard[5], Spoken)
    assert np.count_nonzero(np.abs(heard[5].sound) > 1e-3) > 0.97 * 6 * STEP_SAMPLES
    lost = sound.copy()
    for start, end in spoken_pieces(sound):
        lost[start:end] = 0
    assert not lost.any()


def test_clicks_and_a_noisy_room_are_no_speech() -> None:
    detector = SpeechDetector()
    click = STILL.copy()
    click[1_000:1_400] = 0.8
    assert not detector.hear(click)
    noise = 0.004 * np.random.default_rng(0).standard_normal((40, STEP_SAMPLES)).astype(np.float32)
    assert not any(detector.hear(step) for step in noise)
    assert not detector.hear(noise[0] + 0.03 * TONE)  # hardly louder than the room
    assert detector.hear(noise[0] + TONE)[0].begins
    fan = SpeechDetector()
    loud = 0.02 * np.random.default_rng(1).standard_normal((120, STEP_SAMPLES)).astype(np.float32)
    changes = [change.begins for step in loud for change in fan.hear(step)]
    assert changes == [True, False]  # it is taken for speech, until it has lasted too long
    assert fan.hear(loud[0] + TONE)[0].begins
    deaf = SpeechDetector(threshold=1.0)
    assert not deaf.hear(0.05 * TONE)
