"""Microphone sound between the network, which is uneven, and the clock, which is not."""

from __future__ import annotations

from collections import deque

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES

CAPACITY = 2 * SAMPLE_RATE  # 2 s; then the oldest sound is dropped
CUSHION = SAMPLE_RATE // 10  # 100 ms more than a step before the first one is taken
BACKLOG = 2 * STEP_SAMPLES + CUSHION  # more than this waiting is a delay that a person notices
QUIET = 0.01  # RMS under which a step of a backlog may be passed over unheard
FLOOR_GROWTH = 1.03  # of the room's noise in each step: a few seconds of speech do not raise it


class SoundBuffer:
    """Takes pieces of any length, gives steps of 6,000 samples; silence where there is no sound."""

    def __init__(self) -> None:
        self._pieces: deque[np.ndarray] = deque()
        self._length = 0
        self._flowing = False  # steps are being taken without a gap
        self._waited = False  # the last step was left silent to let a cushion gather
        self._floor = 0.0  # RMS of the room when nobody speaks: a minimum that slowly forgets

    def __len__(self) -> int:
        return self._length

    def push(self, sound: np.ndarray) -> None:
        """Add float32 [N]; beyond `CAPACITY` the oldest samples go."""
        if not len(sound):
            return
        self._pieces.append(sound)
        self._length += len(sound)
        if self._length > CAPACITY:
            self._pop(self._length - CAPACITY)

    def take(self) -> np.ndarray:
        """The next step: float32 [6000]."""
        if not self._flowing and not self._ready():
            return np.zeros(STEP_SAMPLES, np.float32)
        step = self._pop(min(STEP_SAMPLES, self._length))
        while self._quiet(step) and self._length + STEP_SAMPLES > BACKLOG:
            step = self._pop(STEP_SAMPLES)  # catch up where nothing was said
        self._flowing = len(step) == STEP_SAMPLES
        return np.pad(step, (0, STEP_SAMPLES - len(step)))

    def clear(self) -> None:
        self._pieces.clear()
        self._length = 0
        self._flowing = self._waited = False

    def _quiet(self, step: np.ndarray) -> bool:
        """Whether nobody speaks in it; rooms differ, so "quiet" is twice the room's own noise."""
        if not len(step):
            return True  # the network was late, which says nothing about the room
        loudness = level(step)
        self._floor = min(loudness, max(self._floor, QUIET / 2) * FLOOR_GROWTH)
        return loudness < max(QUIET, 2 * self._floor)

    def _ready(self) -> bool:
        """Whether to begin: with a cushion, or after one step's wait (the sound may be short)."""
        begin = self._length >= STEP_SAMPLES + CUSHION or (self._waited and self._length > 0)
        self._waited = not begin and self._length > 0
        return begin

    def _pop(self, count: int) -> np.ndarray:
        taken: list[np.ndarray] = []
        self._length -= count
        while count:
            piece = self._pieces.popleft()
            if len(piece) > count:
                self._pieces.appendleft(piece[count:])
                piece = piece[:count]
            taken.append(piece)
            count -= len(piece)
        return np.concatenate(taken) if taken else np.zeros(0, np.float32)


def level(sound: np.ndarray) -> float:
    """Root mean square of float32 [N], 0 to 1."""
    return float(np.sqrt(np.mean(np.square(sound)))) if len(sound) else 0.0
