"""The microphone's buffer: bounded, whole steps, silence where there is nothing."""

import numpy as np

from quintet.config import STEP_SAMPLES
from quintet.serve.sound_buffer import BACKLOG, CAPACITY, SoundBuffer


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
    speech = noise(0.1, 7)
    buffer.push(speech)
    heard = np.concatenate([buffer.take() for _ in range(7)])
    np.testing.assert_array_equal(heard, speech)
