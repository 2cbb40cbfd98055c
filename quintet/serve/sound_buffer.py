"""Microphone sound between the network, which is uneven, and the clock, which is not.

Sound that is left when a step has been taken delays every answer, so there is only as much of it
as the network needs: a cushion, which grows where sound came too late and slowly shrinks again. A
stream begins with a cushion and one piece, after the silence that fills its first step; what turns
out to be too much is passed over where nobody speaks.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES

CAPACITY = 2 * SAMPLE_RATE  # 2 s; then the oldest sound is dropped
CUSHION = SAMPLE_RATE // 50  # 20 ms that the network may be late
CUSHION_MAX = SAMPLE_RATE // 5
CUSHION_GROWTH = SAMPLE_RATE // 25  # 40 ms, each time that sound came later
CUSHION_SHRINK = 1  # samples a step: 40 ms in four minutes
LATE_STEPS = 4  # within which sound that goes on after a gap was late; later it is a new beginning
WATCHED = 24  # steps, after which it is known how much there is to spare
BACKLOG = 2 * STEP_SAMPLES + SAMPLE_RATE // 10  # more is passed over as soon as nobody speaks
QUIET = 0.01  # RMS under which a step of a backlog may be passed over unheard
FLOOR_GROWTH = 1.03  # of the room's noise in each step: a few seconds of speech do not raise it


class SoundBuffer:
    """Takes pieces of any length, gives steps of 6,000 samples; silence where there is no sound."""

    def __init__(self) -> None:
        self._pieces: deque[np.ndarray] = deque()
        self._length = 0
        self._piece = 0  # samples of the last one that was pushed, a step at most
        self._flowing = False  # steps are being taken without a gap
        self._waited = False  # the last step was left silent to let a cushion gather
        self._silent = LATE_STEPS  # steps since the flow broke
        self._cushion = CUSHION
        self._left: deque[int] = deque(maxlen=WATCHED)  # samples, after each of the last steps
        self._floor = 0.0  # RMS of the room when nobody speaks: a minimum that slowly forgets

    def __len__(self) -> int:
        return self._length

    def push(self, sound: np.ndarray) -> None:
        """Add float32 [N]; beyond `CAPACITY` the oldest samples go."""
        if not len(sound):
            return
        self._add(sound)
        if self._length > CAPACITY:
            self._pop(self._length - CAPACITY)

    def take(self) -> np.ndarray:
        """The next step: float32 [6000]."""
        begins = not self._flowing
        count = self._ready() if begins else min(STEP_SAMPLES, self._length)
        if begins and not count:
            return self._nothing()
        step = self._pop(count)
        while self._quiet(step) and self._length + STEP_SAMPLES > BACKLOG:
            step = self._pop(STEP_SAMPLES)  # catch up where nothing was said
        return self._without_surplus(self._whole(step, begins))

    def clear(self) -> None:
        self._pieces.clear()
        self._length = 0
        self._flowing = self._waited = False
        self._silent = LATE_STEPS

    def _nothing(self) -> np.ndarray:
        """A step in which there is no sound, or not enough to begin with."""
        self._silent += 1
        return np.zeros(STEP_SAMPLES, np.float32)

    def _whole(self, step: np.ndarray, begins: bool) -> np.ndarray:
        """A step of 6,000 samples of what there was: silence before a beginning, and after an
        end."""
        missing = STEP_SAMPLES - len(step)
        self._cushion = max(CUSHION, self._cushion - CUSHION_SHRINK)
        if begins and self._silent < LATE_STEPS:
            self._cushion = min(CUSHION_MAX, self._cushion + CUSHION_GROWTH)
        before = missing if begins and self._length else 0
        self._flowing = not missing or before > 0
        if begins or not self._flowing:
            self._left.clear()
            self._silent = 0
        return np.pad(step, (before, missing - before))

    def _without_surplus(self, step: np.ndarray) -> np.ndarray:
        """A step without its first part, where nobody speaks and more is left than the network
        needs: a cushion, or as much as what was left has varied, and what pieces of this length
        hide, of which some always come at the same time before a step. While few steps have been
        watched, more: what they have not shown may come."""
        self._left.append(self._length)
        least, watched = min(self._left), len(self._left)
        needed = max(self._cushion, max(self._left) - least) + math.gcd(self._piece, STEP_SAMPLES)
        needed += CUSHION * (WATCHED - watched) // watched
        surplus = min(least - needed, STEP_SAMPLES)
        if surplus <= CUSHION // 2 or not self._silence(level(step)):
            return step
        self._left = deque((left - surplus for left in self._left), maxlen=WATCHED)
        return np.concatenate([step[surplus:], self._pop(surplus)])

    def _quiet(self, step: np.ndarray) -> bool:
        """Whether nobody speaks in it; rooms differ, so "quiet" is twice the room's own noise."""
        if not len(step):
            return True  # the network was late, which says nothing about the room
        loudness = level(step)
        self._floor = min(loudness, max(self._floor, QUIET / 2) * FLOOR_GROWTH)
        return self._silence(loudness)

    def _silence(self, loudness: float) -> bool:
        return loudness < max(QUIET, 2 * self._floor)

    def _ready(self) -> int:
        """Samples to begin with: all but a cushion and a piece, or, after one step's wait, what
        there is (the sound may be short). 0: not yet."""
        spare = self._length - self._cushion - self._piece
        begin = spare > 0 or (self._waited and self._length > 0)
        self._waited = not begin and self._length > 0
        return min(STEP_SAMPLES, spare if spare > 0 else self._length) if begin else 0

    def _add(self, sound: np.ndarray) -> None:
        self._pieces.append(sound)
        self._length += len(sound)
        self._piece = min(len(sound), STEP_SAMPLES)

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
