"""Speech is found where it is, in recordings of any length."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import needs_world

from quintet.config import SAMPLE_RATE
from quintet.media.speech import TEST_VOICES, Voice, synthesize
from quintet.media.voice_activity import Speech, VoiceActivity

pytest.importorskip("silero_vad")
LINES = (
    "The train to the north leaves at seven in the morning, and arrives before noon.",
    "Could you tell me where the library is?",
    "It has rained for three days, so the river is high.",
)


def _noise(rng: np.random.Generator, seconds: float, level: float) -> np.ndarray:
    return (level * rng.standard_normal(int(seconds * SAMPLE_RATE))).astype(np.float32)


def _music(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Two plucked tones a second, with their overtones."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros(len(t))
    for k in range(int(2 * seconds)):
        tone, since = 220 * 2 ** (rng.integers(24) / 12), np.maximum(0, t - k / 2)
        fall = np.where(t >= k / 2, np.exp(-3 * since), 0)
        sound += 0.1 * fall * sum(np.sin(2 * np.pi * tone * h * t) / h for h in (1, 2, 3))
    return sound.astype(np.float32)


def recording(lines: int = 6, seed: int = 0) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Lines in several voices with noise, music and pauses between; where each of them is."""
    rng = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    truth: list[tuple[int, int]] = []
    place = 0
    for index in range(lines):
        between = _music(rng, 3) if index % 3 == 1 else _noise(rng, 2, 0.03 / (1 + 9 * (index % 2)))
        voice = Voice(TEST_VOICES[index % len(TEST_VOICES)])
        said = synthesize(LINES[index % len(LINES)], voice)
        said = 0.5 * said / np.abs(said).max() + _noise(rng, len(said) / SAMPLE_RATE + 1, 0.002)[
            : len(said)
        ]  # fmt: skip
        truth.append((place + len(between), place + len(between) + len(said)))
        parts += [between, said]
        place = truth[-1][1]
    return np.concatenate([*parts, _noise(rng, 1, 0.01)]).astype(np.float32), truth


def overlap(found: list[Speech], truth: list[tuple[int, int]], length: int) -> float:
    """Intersection over union of what was found and what is so, in samples."""
    marks = np.zeros((2, length), bool)
    for speech in found:
        marks[0, speech.start : speech.end] = True
    for start, end in truth:
        marks[1, start:end] = True
    return float((marks[0] & marks[1]).sum() / (marks[0] | marks[1]).sum())


def _blocks(sound: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (sound[start : start + size] for start in range(0, len(sound), size))


@needs_world
def test_speech_is_found_between_noise_and_music() -> None:
    sound, truth = recording()
    activity = VoiceActivity()
    found = list(activity.segments(_blocks(sound, SAMPLE_RATE)))
    score = overlap(found, truth, len(sound))
    print(f"intersection over union {score:.3f}, {len(found)} segments of {len(truth)} lines")
    assert score > 0.9
    for speech in found:
        assert np.array_equal(speech.sound_S, sound[speech.start : speech.end])
    # The blocks in which the sound comes change nothing.
    again = list(activity.segments(_blocks(sound, 7_777)))
    assert [(s.start, s.end) for s in again] == [(s.start, s.end) for s in found]


@needs_world
def test_long_speech_is_cut_where_it_is_quiet_and_nothing_is_lost() -> None:
    said = np.concatenate([synthesize(line, Voice("en-us")) for line in LINES])
    said = np.pad(0.5 * said / np.abs(said).max(), SAMPLE_RATE)
    activity = VoiceActivity()
    whole = list(activity.segments(_blocks(said, SAMPLE_RATE)))
    cut = list(activity.segments(_blocks(said, SAMPLE_RATE), longest_seconds=2))
    assert len(cut) > len(whole) and max(len(s.sound_S) for s in cut) <= 2 * SAMPLE_RATE
    kept = np.zeros((2, len(said)), bool)
    for row, found in enumerate((whole, cut)):
        for speech in found:
            kept[row, speech.start : speech.end] = True
    assert (kept[0] != kept[1]).mean() < 0.05
    loudness = np.sqrt(np.mean(said[kept[0]] ** 2))
    edges = [s.start for s in cut if s.start not in {w.start for w in whole}]
    assert edges and all(np.abs(said[e - 200 : e + 200]).mean() < loudness for e in edges)


class _Loud:
    """In the detector's place: speech is whatever is loud, without a network's work."""

    def reset_states(self) -> None:
        self.at, self.speaks = 0, False

    def __call__(self, window: object) -> dict[str, int] | None:
        self.at += 512
        loud = float(abs(window).max()) > 0.1  # type: ignore[arg-type]
        if loud == self.speaks:
            return None
        self.speaks = loud
        return {"start": self.at - 512} if loud else {"end": self.at - 512}


def _tones(seconds: int) -> Iterator[np.ndarray]:
    """A second of tone in every ten."""
    tone = np.sin(np.arange(SAMPLE_RATE) / 9).astype(np.float32)
    for second in range(seconds):
        yield tone if second % 10 == 3 else np.zeros(SAMPLE_RATE, np.float32)


def test_long_recordings_take_constant_memory() -> None:
    activity = VoiceActivity()
    activity._iterator = _Loud()
    tracemalloc.start()
    try:
        count = sum(1 for _ in activity.segments(_tones(1_000)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 100
    assert peak < 4_000_000  # the recording has 96 MB


def test_a_click_is_no_speech_wherever_it_is() -> None:
    activity = VoiceActivity()
    activity._iterator = _Loud()
    tone, pause = np.sin(np.arange(SAMPLE_RATE) / 9).astype(np.float32), np.zeros(SAMPLE_RATE, "f4")
    click, word = tone[:2_000], tone[:12_000]
    found = list(activity.segments([pause, click, pause, word, pause, click]))
    assert len(found) == 1 and abs(found[0].start - 2 * SAMPLE_RATE - len(click)) < 2_000


def test_silence_and_nothing_give_nothing() -> None:
    activity = VoiceActivity()
    assert list(activity.segments([])) == []
    assert list(activity.segments([np.zeros(SAMPLE_RATE, np.float32)])) == []
