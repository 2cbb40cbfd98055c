"""The microphone's buffer: bounded, whole steps, silence where there is nothing."""

import numpy as np
import pytest
from fake import PIECE

from benchmarks.cushion import microphone_gaps
from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.serve.api.hearing import InputQueue
from quintet.serve.sound_buffer import (
    BACKLOG,
    CAPACITY,
    CUSHION,
    CUSHION_GROWTH,
    CUSHION_MAX,
    LATE_STEPS,
    WATCHED,
    SoundBuffer,
)


def ramp(count: int, start: int = 0) -> np.ndarray:
    return np.arange(start + 1, start + count + 1, dtype=np.float32)


def test_without_sound_a_step_is_silent() -> None:
    step = SoundBuffer().take()
    assert step.dtype == np.float32
    assert step.shape == (STEP_SAMPLES,)
    assert not step.any()


def test_pieces_of_any_length_come_out_in_order() -> None:
    buffer = SoundBuffer()
    sound = ramp(3 * STEP_SAMPLES)
    for piece in np.split(sound, [7, 5_000, 5_001, 12_345]):
        buffer.push(piece)
    taken = np.concatenate([buffer.take() for _ in range(3)])
    np.testing.assert_array_equal(taken, sound)


def test_the_oldest_sound_is_dropped() -> None:
    buffer = SoundBuffer()
    sound = ramp(CAPACITY + 500)
    buffer.push(sound)
    assert len(buffer) == CAPACITY
    np.testing.assert_array_equal(buffer.take(), sound[500 : 500 + STEP_SAMPLES])


def test_a_short_sound_waits_one_step_and_is_then_heard() -> None:
    buffer = SoundBuffer()
    buffer.push(ramp(100))
    assert not buffer.take().any()
    step = buffer.take()
    np.testing.assert_array_equal(step[:100], ramp(100))
    assert not step[100:].any()
    assert not buffer.take().any()


def test_a_backlog_is_made_up_in_silence_and_only_there() -> None:
    buffer = SoundBuffer()
    buffer.push(np.zeros(3 * STEP_SAMPLES, np.float32))
    speech = np.full(4 * STEP_SAMPLES, 0.3, np.float32)
    buffer.push(speech)
    heard = np.concatenate([buffer.take() for _ in range(4)])
    np.testing.assert_array_equal(heard, speech)


def noise(rms: float, steps: int, seed: int = 0) -> np.ndarray:
    sound = np.random.default_rng(seed).normal(0, rms, steps * STEP_SAMPLES)
    return sound.astype(np.float32)


def test_a_backlog_is_made_up_in_a_noisy_room_too() -> None:
    buffer = SoundBuffer()
    buffer.push(noise(0.02, 8))  # two seconds that a hiccup of the network kept back
    for _ in range(80):
        buffer.push(noise(0.02, 1))
        buffer.take()
    assert len(buffer) <= BACKLOG


def test_speech_in_a_noisy_room_is_heard_whole() -> None:
    buffer = SoundBuffer()
    for _ in range(80):  # the room becomes known
        buffer.push(noise(0.02, 1))
        buffer.take()
    waits = len(buffer) % STEP_SAMPLES  # a whole step of it is passed over
    speech = noise(0.1, 6)
    buffer.push(speech)
    heard = np.concatenate([buffer.take() for _ in range(7)])
    np.testing.assert_array_equal(heard[waits : waits + len(speech)], speech)


def left_after(buffer: SoundBuffer, steps: int, loudness: float, late: int = 0) -> list[int]:
    """What each of `steps` leaves when pieces come on time, or every other step by so many samples
    too late."""
    sent, left = 0, []
    for step in range(1, steps + 1):
        while sent + PIECE <= step * STEP_SAMPLES - late * (step % 2):
            buffer.push(np.full(PIECE, loudness, np.float32))
            sent += PIECE
        buffer.take()
        left.append(len(buffer))
    return left


def test_a_stream_waits_no_longer_than_a_cushion_and_a_piece() -> None:
    for loudness in (0.0, 0.3):  # from its first step on, and while somebody speaks
        left = left_after(SoundBuffer(), 40, loudness)
        assert max(left) <= CUSHION + 2 * PIECE
        assert min(left[1:]) > 0
        assert max(left[-8:]) <= 60 * SAMPLE_RATE // 1_000  # each of which is a delay


def test_what_gathers_is_passed_over_where_nobody_speaks_and_only_there() -> None:
    for loudness, waits in ((0.3, 6_000), (0.0, 0)):
        buffer = SoundBuffer()
        left_after(buffer, 8, loudness)
        buffer.push(np.full(6_000, loudness, np.float32))  # came twice, such as by a hiccup
        assert min(left_after(buffer, 60, loudness)) >= waits
        assert len(buffer) <= CUSHION + 2 * PIECE + waits


def test_what_gathered_at_the_beginning_is_passed_over_the_sooner_the_more_it_is() -> None:
    first = []
    for gathered in (3_600, 8_000):
        buffer = SoundBuffer()
        buffer.push(np.zeros(STEP_SAMPLES + gathered, np.float32))
        left = np.array([gathered, *left_after(buffer, 24, 0.0)])
        first.append(int(np.flatnonzero(left < gathered - PIECE)[0]))
        assert (left[12:] <= 2 * CUSHION + 2 * PIECE).all()
        assert (left > 0).all() and left[-1] <= CUSHION + 2 * PIECE
    assert 1 < first[1] < first[0] < 12


def test_as_much_is_left_as_has_varied_until_that_is_forgotten() -> None:
    buffer, late = SoundBuffer(), SAMPLE_RATE // 10
    buffer.push(np.zeros(2 * STEP_SAMPLES + 2_000, np.float32))
    left = left_after(buffer, 100, 0.0, late)
    assert left[0] > 2 * late  # of which some is passed over, but
    assert late <= min(left) <= late + 2 * PIECE  # it could have come later still by as much
    left = left_after(buffer, 100, 0.0)  # on time
    assert min(left[: WATCHED // 2]) >= late
    assert max(left[WATCHED + 1 :]) <= CUSHION + 2 * PIECE


def test_sound_that_came_too_late_makes_the_cushion_longer_until_it_is_forgotten() -> None:
    buffer = SoundBuffer()
    for count in range(1, 9):
        left_after(buffer, 4, 0.3)
        while len(buffer):  # nothing comes
            buffer.take()
        left_after(buffer, 4, 0.3)
        assert buffer._cushion > min(CUSHION_MAX, CUSHION + count * CUSHION_GROWTH) - 200
    left_after(buffer, CUSHION_MAX, 0.3)  # a quarter of an hour
    assert buffer._cushion == CUSHION


def test_a_gap_in_the_network_loses_nothing_that_was_said() -> None:
    buffer, sound = SoundBuffer(), ramp(8 * STEP_SAMPLES)
    heard = []
    for step in range(12):
        if step not in (3, 4):
            buffer.push(sound[:STEP_SAMPLES])
            sound = sound[STEP_SAMPLES:]
        heard.append(buffer.take())
    spoken = np.concatenate(heard)
    np.testing.assert_array_equal(spoken[spoken > 0], ramp(8 * STEP_SAMPLES))


@pytest.mark.parametrize("kind", [SoundBuffer, InputQueue])
def test_what_begins_anew_was_not_late(kind: type[SoundBuffer]) -> None:
    buffer = kind()
    for pause in (LATE_STEPS, 1, 1, LATE_STEPS + 1):
        left_after(buffer, 4, 0.3)
        if pause == 1:
            buffer.clear()  # another conversation
        while len(buffer):
            buffer.take()
        for _ in range(pause):
            buffer.take()
        assert buffer._cushion == CUSHION
    left_after(buffer, 4, 0.3)
    while len(buffer):
        buffer.take()
    left_after(buffer, 1, 0.3)
    buffer.take()
    assert buffer._cushion > CUSHION  # but this was


def test_hardly_a_gap_in_sound_that_comes_unevenly() -> None:
    assert microphone_gaps(PIECE, 0.01) <= 12  # of 2,400
    assert microphone_gaps(PIECE, 0.03) <= 35
    # That one is late does not show until one is missed.
    assert microphone_gaps(STEP_SAMPLES, 0.03) <= 2
