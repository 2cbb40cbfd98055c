"""The user's sound between the network and the clock, and the turns in it.

A client may send a whole file at once: it is queued and played to the model at the clock. That
speech began and ended is told by its energy, in frames of 10 ms.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.serve.api.problems import RequestError
from quintet.serve.sound_buffer import CUSHION, QUIET, SoundBuffer, level

MAX_SECONDS = 300  # of sound that waits for the clock
LONGEST_GAP = 8  # silent steps after which sound is a new beginning, not a late continuation
FRAME = SAMPLE_RATE // 100  # 10 ms
VOICED, AMONG = 6, 10  # frames that must be voiced, of so many, before it is speech
ABOVE_ROOM = 3.0  # times the noise of the room
ROOM_GROWTH = 1.0012  # of that noise a frame: a minimum that slowly forgets


class InputQueue(SoundBuffer):
    """Sound that waits for the clock: much of it is a file being played, not a delay.

    So, unlike a microphone's, its quiet steps are passed over only for those that were lost before:
    left silent because the network was late, skipped because the model was, or held while
    something else was played.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0  # samples of it that were played, passed over or discarded
        self._gap = LONGEST_GAP  # silent steps since the last sound
        self._lost = 0  # steps that may be passed over
        self._held = 0  # and those in which this sound waited for another; no bound but its length

    def push(self, sound: np.ndarray) -> None:
        """Add float32 [N].

        Raises:
            RequestError: more than `MAX_SECONDS` would wait.
        """
        if self._length + len(sound) > MAX_SECONDS * SAMPLE_RATE:
            raise RequestError(
                f"More than {MAX_SECONDS} s of sound wait to be heard; send this later.",
                "input_audio_buffer_full",
            )
        if len(sound):
            self._add(sound)

    def lose(self, steps: int) -> None:
        """The model was late by so many steps."""
        self._lost = min(self._lost + steps, LONGEST_GAP)

    def hold(self) -> None:
        """In this step another sound is played. What is quiet does not wait for its end; what was
        said does, and what comes after it is caught up with."""
        if not self._length:
            return
        self._held, self._lost = self._held + 1 + self._lost, 0
        while self._held and self._length >= STEP_SAMPLES + CUSHION:
            step = self._pop(STEP_SAMPLES)
            if not self._silence(level(step)):  # a look, by which the room's noise is not learnt
                self._pieces.appendleft(step)
                self._length += STEP_SAMPLES
                return
            self.taken += STEP_SAMPLES
            self._held -= 1

    def take(self) -> np.ndarray:
        """The next step: float32 [6000]."""
        begins = not self._flowing
        count = self._ready() if begins else min(STEP_SAMPLES, self._length)
        if begins and not count:
            self._gap += 1
            return self._nothing()
        self._lost = min(self._lost + self._gap, LONGEST_GAP) if self._gap < LONGEST_GAP else 0
        self._gap = 0
        step = self._played(count)
        behind = self._held + self._lost
        while behind and self._quiet(step) and self._length >= STEP_SAMPLES + CUSHION:
            step = self._played(STEP_SAMPLES)
            behind -= 1
        self._lost = min(self._lost, behind)
        self._held = behind - self._lost if self._length else 0
        return self._whole(step, begins)

    def take_all(self) -> np.ndarray:
        """Everything that waits, float32 [N], to be played otherwise."""
        self._held = 0
        return self._pop(self._length)

    def clear(self) -> None:
        self.taken += self._length
        self._held = 0
        super().clear()

    def _played(self, count: int) -> np.ndarray:
        self.taken += count
        return self._pop(count)


@dataclass(frozen=True)
class Change:
    """At a frame of a step, 0 to 24, speech began, or else ended."""

    begins: bool
    frame: int


class SpeechDetector:
    """Energy against the noise of the room, with the knobs of `server_vad`.

    Args:
        threshold: 0 to 1; at 0.5, speech is louder than an RMS of 0.01.
        silence_ms: without voice after which speech has stopped; None: it never does by itself.
    """

    def __init__(self, threshold: float = 0.5, silence_ms: int | None = 500) -> None:
        self.quiet = QUIET * threshold / 0.5
        self.silence_frames = None if silence_ms is None else max(1, silence_ms // 10)
        self.speaking = False
        self._room = 0.0
        self._recent: deque[bool] = deque(maxlen=AMONG)
        self._silent = 0  # frames since the last voice

    def hear(self, step: np.ndarray) -> list[Change]:
        """Take float32 [6000]; where speech began and ended in it, in order: a short pause may be
        over in the step in which it ends a turn."""
        changes: list[Change] = []
        for frame in range(len(step) // FRAME):
            loudness = level(step[frame * FRAME : (frame + 1) * FRAME])
            self._room = min(loudness, max(self._room, QUIET / 4) * ROOM_GROWTH)
            voice = loudness > max(self.quiet, ABOVE_ROOM * self._room)
            self._recent.append(voice)
            self._silent = 0 if voice else self._silent + 1
            if not self.speaking and sum(self._recent) >= VOICED:
                self.speaking, free = True, changes[-1].frame + 1 if changes else 0
                changes.append(Change(True, max(free, frame - AMONG + 1)))
            elif self.speaking and self._silent >= (self.silence_frames or self._silent + 1):
                self.stop()
                changes.append(Change(False, frame))
        return changes

    def stop(self) -> None:
        """The turn is over, for whatever reason."""
        self.speaking = False
        self._recent.clear()
