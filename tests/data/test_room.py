"""The room does what it says, by measure; moving pictures move and stay in their split."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from conftest import needs_world

from quintet.config import SAMPLE_RATE
from quintet.data.world.motion import MovingPicture
from quintet.data.world.pictures import TEST_SIZES
from quintet.data.world.room import (
    NOISES,
    TEST_DELAYS,
    TEST_RT60,
    Room,
    convolve,
    draw_room,
    hear,
    impulse_response,
    make_noise,
    mingle,
    music,
)
from quintet.data.world.wide_things import WIDE_BY_NAME

SECOND = SAMPLE_RATE


def _tone(seconds: float, hertz: float = 440) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * SECOND)) / SECOND).astype(
        np.float32
    )


def _hear(room: Room, seed: int = 0, seconds: float = 3, assistant=None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    silent = np.zeros(round(seconds * SECOND), np.float32)
    played = silent if assistant is None else assistant
    return hear(room, rng, "train", [(SECOND, 0.5 * _tone(0.5))], played, [_tone(0.4, 700)])


def _decibels(sound: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(sound, dtype=np.float64)) + 1e-20))


def _measured_rt60(response: np.ndarray) -> float:
    """Seconds in which the energy that is still to come falls by 60 dB, from the slope between
    -5 and -25 dB of the tail (Schroeder's backward integration)."""
    energy = np.cumsum(np.square(response[1:], dtype=np.float64)[::-1])[::-1]
    decibels = 10 * np.log10(energy / energy[0] + 1e-12)
    first, last = (int(np.argmax(decibels < level)) for level in (-5, -25))
    slope = np.polyfit(np.arange(first, last) / SAMPLE_RATE, decibels[first:last], 1)[0]
    return float(-60 / slope)


@pytest.mark.parametrize("rt60", [0.1, 0.2, 0.35, 0.5, 0.8])
def test_an_echo_falls_as_it_should(rt60: float) -> None:
    for seed in range(5):
        response = impulse_response(np.random.default_rng(seed), rt60, 3.0)
        assert _measured_rt60(response) == pytest.approx(rt60, rel=0.1)
        ratio = _decibels(response[:1]) - _decibels(response[1:]) - 10 * np.log10(len(response) - 1)
        assert ratio == pytest.approx(3.0, abs=0.2)


def test_convolution_is_the_slow_one() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal(300), rng.standard_normal(70)
    assert np.allclose(convolve(one, other), np.convolve(one, other), atol=1e-4)


def test_the_plain_room_changes_nothing() -> None:
    heard = _hear(Room(loudness=0.8))
    assert np.allclose(heard[SECOND : SECOND + SECOND // 2], 0.8 * _tone(0.5), atol=1e-3)
    assert not heard[:SECOND].any() and not heard[SECOND + SECOND // 2 :].any()


@pytest.mark.parametrize("field", ["noise_db", "music_db", "babble_db"])
def test_levels_are_in_decibels_of_the_loudest_speech(field: str) -> None:
    room = Room(loudness=0.5, noise="white" if field == "noise_db" else "none", **{field: -30.0})
    quiet = _hear(room)[:SECOND] if field != "babble_db" else _hear(room)
    expected = 20 * np.log10(0.5) - 30
    if field == "babble_db":
        quiet = quiet - _hear(Room(loudness=0.5))
    assert _decibels(quiet) == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(("decibels", "delay"), [(-10.0, 0.2), (-30.0, 0.04)])
def test_the_assistant_is_heard_late_and_faint(decibels: float, delay: float) -> None:
    assistant = np.zeros(3 * SECOND, np.float32)
    assistant[2 * SECOND : 2 * SECOND + SECOND // 2] = 0.5 * _tone(0.5, 600)
    heard = _hear(Room(echo_db=decibels, echo_delay=delay), assistant=assistant)
    first = int(np.flatnonzero(np.abs(heard[3 * SECOND // 2 :]) > 1e-6)[0]) + 3 * SECOND // 2
    assert first / SECOND - 2 == pytest.approx(delay, abs=0.001)
    spoken = assistant[2 * SECOND : 2 * SECOND + SECOND // 2]
    echo = heard[first : first + len(spoken)]
    assert _decibels(echo) - _decibels(spoken) == pytest.approx(decibels, abs=0.2)


def test_the_microphone_fails_and_clips() -> None:
    room = Room(noise="white", noise_db=-20)
    whole, cut = _hear(room), _hear(dataclasses.replace(room, num_cuts=3))
    gone = np.flatnonzero((cut == 0) & (whole != 0))
    assert 0.01 * SECOND < len(gone) < 3 * 0.12 * SECOND
    clipped = _hear(dataclasses.replace(room, overdrive=3.0))
    assert np.abs(clipped).max() == 1 and (np.abs(clipped) == 1).mean() > 0.05


def test_sounds_are_made_by_their_seed_and_not_alike() -> None:
    made = [*(make_noise(np.random.default_rng(1), kind, SECOND) for kind in NOISES[1:]),
            music(np.random.default_rng(1), "train", SECOND),
            music(np.random.default_rng(1), "test", SECOND),
            mingle(np.random.default_rng(1), [_tone(0.2), _tone(0.3, 500)], SECOND)]  # fmt: skip
    for sound in made:
        assert sound.dtype == np.float32 and sound.std() == pytest.approx(1, abs=0.01)
    assert len({sound.tobytes() for sound in made}) == len(made)
    again = music(np.random.default_rng(1), "train", SECOND)
    assert np.array_equal(again, made[3])
    power = np.square(np.abs(np.fft.rfft(made[3])))
    assert np.sort(power)[-120:].sum() > 0.8 * power.sum()  # tones: one hundredth of the spectrum


def test_rooms_are_drawn_by_seed_and_split() -> None:
    rooms = {split: [draw_room(seed, split) for seed in range(300)] for split in ("train", "test")}
    assert rooms["train"] == [draw_room(seed, "train") for seed in range(300)]
    for split, drawn in rooms.items():
        for room in drawn:
            inside = TEST_DELAYS[0] <= room.echo_delay <= TEST_DELAYS[1]
            assert inside == (split == "test") and 0.04 <= room.echo_delay <= 0.2
            if room.rt60 is not None:
                assert (TEST_RT60[0] <= room.rt60 <= TEST_RT60[1]) == (split == "test")
                assert 0.1 <= room.rt60 <= 0.8
            assert room.echo_db is None or -30 <= room.echo_db <= -10
        for name in ("rt60", "music_db", "babble_db", "echo_db"):
            has = np.mean([getattr(room, name) is not None for room in drawn])
            assert 0.2 < has < 0.9, name


@needs_world
@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_move_and_change(split: str) -> None:
    things = tuple(WIDE_BY_NAME[name] for name in ("cat", "dog", "grapes"))
    video = MovingPicture(things, 8, 3, split)
    frames = [video.frame(step) for step in range(video.num_steps)]
    assert [thing.name for _, thing, _ in frames[::8]] == ["cat", "dog", "grapes"]
    again = MovingPicture(things, 8, 3, split)
    for step in range(video.num_steps - 1, -1, -1):  # in any order
        assert np.array_equal(again.frame(step)[0], frames[step][0])
    pictures = [picture.astype(int) for picture, _, _ in frames]
    assert all(picture.shape == (96, 96, 3) for picture in pictures)
    changes = np.array([np.abs(b - a).mean() for a, b in pairwise(pictures)])
    assert (changes > 0).all()
    within = np.delete(changes, [7, 15])
    assert changes[[7, 15]].min() > np.median(within)
    for _, _, look in frames:
        assert (TEST_SIZES[0] <= look.size <= TEST_SIZES[1]) == (split == "test")
        assert (look.background == "checkers") <= (split == "test")
