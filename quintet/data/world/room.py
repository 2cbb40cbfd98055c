"""The room between people and the microphone: echoes, noise, music, other people, and faults.

Everything here is made, nothing recorded; a room is drawn from a seed and a split, and test rooms
reverberate and delay as no training room does.

Shapes: S samples at 24 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES

SHORTEST_RT60, LONGEST_RT60 = 0.1, 0.8  # seconds in which an echo falls by 60 dB
TEST_RT60 = (0.36, 0.46)  # kept for the test split
DELAYS = (0.04, 0.2)  # seconds from the loudspeaker to the microphone, with its buffers
TEST_DELAYS = (0.1, 0.12)
ECHOES = (-30.0, -10.0)  # dB of the assistant's own voice in the microphone
NOISES = ("none", "white", "room", "hum")
Chord = tuple[int, ...]  # semitones over the root
CHORDS: tuple[Chord, ...] = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 11), (0, 3, 7, 10))
TRAIN_ROOTS, TEST_ROOTS = (0, 2, 3, 5, 7, 8, 10), (1, 6, 11)  # semitones over A
ANY = 1 / 3  # how often a room has each of music, other people, and faults
LONGEST_CUT = 0.12  # seconds for which the microphone fails: less than a word


@dataclass(frozen=True)
class Room:
    """What happens to sound on its way; levels are in dB of the loudest speech.

    The plain room, with no argument, changes nothing.
    """

    loudness: float = 0.9  # of the loudest speech, in full scale; 0.9 or less
    rt60: float | None = None  # seconds; None: no reverberation
    direct: float = 6.0  # dB of what comes straight, over what comes by the walls
    noise: str = "none"  # of NOISES
    noise_db: float = -40.0
    music_db: float | None = None
    babble_db: float | None = None  # other people, who say nothing that is labelled
    babblers: int = 3
    echo_db: float | None = None  # of the assistant's voice as it was said
    echo_delay: float = 0.1  # seconds
    num_cuts: int = 0  # moments at which the microphone fails
    overdrive: float = 1.0  # over 1: so much of it that the microphone clips


def draw_room(seed: int, split: str) -> Room:
    """A room of `split` ("train" or "test"), a pure function of its arguments."""
    rng = np.random.default_rng((seed, split == "test", 5))

    def sometimes(share: float, least: float, most: float) -> float | None:
        value, drawn = round(float(rng.uniform(least, most)), 1), rng.random()
        return value if drawn < share else None

    return Room(
        loudness=round(float(rng.uniform(0.1, 0.9)), 3),
        rt60=_apart(rng, split, (SHORTEST_RT60, LONGEST_RT60), TEST_RT60)
        if rng.random() < 0.75 else None,
        direct=round(float(rng.uniform(0, 12)), 1),
        noise=NOISES[int(rng.integers(len(NOISES)))],
        noise_db=round(float(rng.uniform(-55, -25)), 1),
        music_db=sometimes(ANY, -40, -18),
        babble_db=sometimes(ANY, -40, -20),
        babblers=int(rng.integers(2, 6)),
        echo_db=sometimes(0.5, *ECHOES),
        echo_delay=_apart(rng, split, DELAYS, TEST_DELAYS),
        num_cuts=int(rng.integers(1, 4)) if rng.random() < ANY else 0,
        overdrive=round(float(rng.uniform(1.2, 3)), 2) if rng.random() < ANY / 2 else 1.0,
    )  # fmt: skip


def _apart(
    rng: np.random.Generator, split: str, whole: tuple[float, float], kept: tuple[float, float]
) -> float:
    """A value of `whole`; those of `kept`, and no others, belong to the test split."""
    while True:
        value = round(float(rng.uniform(*(kept if split == "test" else whole))), 3)
        if split == "test" or not kept[0] <= value <= kept[1]:
            return value


def impulse_response(rng: np.random.Generator, rt60: float, direct: float) -> np.ndarray:
    """What a clap sounds like in a room, float32 [S]: the straight sound, then noise that falls
    by 60 dB in `rt60` seconds, whose energy is `direct` dB below the straight sound's."""
    length = round(1.1 * rt60 * SAMPLE_RATE)
    first = round(rng.uniform(0.002, 0.006) * SAMPLE_RATE)  # the nearest wall
    times = np.arange(length) / SAMPLE_RATE
    tail = rng.standard_normal(length) * 10 ** (-3 * times / rt60)
    # Air and curtains take the highest tones.
    tail = np.convolve(tail, (0.25, 0.5, 0.25))[:length]
    tail *= 10 ** (-direct / 20) / np.sqrt(np.sum(tail**2))
    response = np.zeros(first + length)
    response[0] = 1
    response[first:] += tail
    return response.astype(np.float32)


def convolve(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Full convolution, float32 [S + R - 1], by the fast Fourier transform."""
    length = len(sound) + len(response) - 1
    size = 1 << (length - 1).bit_length()
    product = np.fft.rfft(sound, size) * np.fft.rfft(response, size)
    return np.fft.irfft(product, size)[:length].astype(np.float32)


def add_at(track: np.ndarray, sound: np.ndarray, start: int) -> None:
    """Mix `sound` into `track` from `start` on, as far as it reaches."""
    sound = sound[: max(0, len(track) - start)]
    track[start : start + len(sound)] += sound


def hear(
    room: Room,
    rng: np.random.Generator,
    split: str,
    sounds: Sequence[tuple[int, np.ndarray]],
    assistant: np.ndarray,
    babble: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """The microphone, float32 [S], in [-1, 1].

    Args:
        sounds: what people say: first sample and sound, each from a place of its own.
        assistant: the assistant's voice [S], which the loudspeaker plays.
        babble: sentences of other people, for rooms that have them.
    """
    heard = np.zeros(len(assistant), np.float32)
    for start, sound in sounds:
        if room.rt60 is not None and len(sound):
            sound = convolve(sound, impulse_response(rng, room.rt60, room.direct))
        add_at(heard, sound, start)
    peak = float(np.abs(heard).max(initial=0))
    heard *= room.loudness / peak if peak > 0 else 1.0
    if room.echo_db is not None:
        add_at(heard, _echo(room, rng, assistant), round(room.echo_delay * SAMPLE_RATE))
    _add(heard, make_noise(rng, room.noise, len(heard)), room.noise_db, room.loudness)
    if room.music_db is not None:
        _add(heard, music(rng, split, len(heard)), room.music_db, room.loudness)
    if room.babble_db is not None and babble:
        _add(heard, mingle(rng, babble, len(heard)), room.babble_db, room.loudness)
    for _ in range(room.num_cuts):
        start = int(rng.integers(len(heard)))
        heard[start : start + round(rng.uniform(0.01, LONGEST_CUT) * SAMPLE_RATE)] = 0
    return np.clip(heard * np.float32(room.overdrive), -1, 1)


def _echo(room: Room, rng: np.random.Generator, assistant: np.ndarray) -> np.ndarray:
    assert room.echo_db is not None
    played = assistant * np.float32(10 ** (room.echo_db / 20))
    if room.rt60 is None or not played.any():
        return played
    return convolve(played, impulse_response(rng, room.rt60, room.direct))[: len(played)]


def _add(heard: np.ndarray, sound: np.ndarray, level: float, loudness: float) -> None:
    """Mix a sound of unit variance in at `level` dB of the loudest speech."""
    heard += np.float32(loudness * 10 ** (level / 20)) * sound


def _unit(sound: np.ndarray) -> np.ndarray:
    spread = float(sound.std())
    return (sound / spread if spread > 0 else sound).astype(np.float32)


def make_noise(rng: np.random.Generator, kind: str, length: int) -> np.ndarray:
    """Noise of `kind` (of NOISES), float32 [length], with unit variance or none at all."""
    if kind == "none":
        return np.zeros(length, np.float32)
    white = rng.standard_normal(length).astype(np.float32)
    if kind == "room":  # low frequencies dominate
        white = np.convolve(white, np.full(32, 1, np.float32), "same").astype(np.float32)
    if kind == "hum":
        hum = np.sin(2 * np.pi * rng.choice([50, 60, 100]) * np.arange(length) / SAMPLE_RATE)
        white = (hum + 0.3 * white).astype(np.float32)
    return _unit(white)


def music(rng: np.random.Generator, split: str, length: int) -> np.ndarray:
    """Chords in a rhythm over a bass, float32 [length] with unit variance; the splits share no
    chord."""
    beat = SAMPLE_RATE * 60 / rng.uniform(80, 140)
    roots, chord = TEST_ROOTS if split == "test" else TRAIN_ROOTS, CHORDS[0]
    track, pattern = np.zeros(length), rng.random(8) < 0.7  # which of the half beats are played
    decay = rng.uniform(0.15, 0.6)
    times = np.arange(round(4 * decay * SAMPLE_RATE)) / SAMPLE_RATE
    fall = np.exp(-times / decay) * np.minimum(1, times / 0.005)
    notes: dict[int, np.ndarray] = {}  # by semitones over the low A

    def play(semitones: int, start: int, level: float) -> None:
        if semitones not in notes:
            tone = 2 * np.pi * 110 * 2 ** (semitones / 12) * times
            notes[semitones] = fall * (
                np.sin(tone) + 0.4 * np.sin(2 * tone) + 0.2 * np.sin(3 * tone)
            )
        add_at(track, level * notes[semitones], start)

    root = roots[0]
    for half in range(int(2 * length / beat) + 1):
        if half % 8 == 0:
            root = roots[int(rng.integers(len(roots)))]
            chord = CHORDS[int(rng.integers(len(CHORDS)))]
            play(root, round(half * beat / 2), 1.0)
        if pattern[half % 8]:
            for semitones in chord:
                play(root + semitones + 12, round(half * beat / 2), 0.5)
    return _unit(track)


def mingle(rng: np.random.Generator, voices: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Everybody of `voices` speaks again and again, with gaps: float32 [length], unit variance."""
    track = np.zeros(length, np.float32)
    for voice in voices:
        if not len(voice):
            continue
        start = -int(rng.integers(len(voice)))
        while start < length:
            add_at(track, voice[max(0, -start) :], max(0, start))
            start += len(voice) + int(rng.integers(STEP_SAMPLES, 6 * STEP_SAMPLES))
    return _unit(track)
