"""What a session hears: live, with turns told by a detector, or by push-to-talk.

With turn detection the model hears all the time, and the detector only says when speech began and
ended. Without it (push-to-talk) sound gathers until it is committed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.serve.api.formats import SoundDecoder
from quintet.serve.api.hearing import (
    AMONG,
    FRAME,
    MAX_SECONDS,
    InputQueue,
    SpeechDetector,
)
from quintet.serve.api.ids import new_id
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import AudioInput, SemanticVad, ServerVad

SHORTEST = SAMPLE_RATE // 10  # samples that a commit needs
PREFIX_MS = 300  # of sound before speech that a turn keeps, if the client does not say
# Silence after which a turn ends even though the model does not answer.
EAGERNESS_MS = {"low": 8_000, "medium": 4_000, "auto": 4_000, "high": 2_000}


@dataclass(frozen=True)
class Edge:
    """Of a turn, so many milliseconds after the first sound of the session."""

    item_id: str
    ms: int


class Started(Edge):
    """Speech began."""


class Stopped(Edge):
    """Speech ended."""


@dataclass(frozen=True)
class Spoken:
    """A turn is complete: float32 [N]."""

    item_id: str
    sound: np.ndarray


Heard = Started | Stopped | Spoken


class Ears:
    """The input buffer of a session."""

    def __init__(self, settings: AudioInput) -> None:
        self.queue = InputQueue()
        self.detector: SpeechDetector | None = None  # None: push-to-talk
        self.prefix_ms = PREFIX_MS
        self.idle_ms: int | None = None  # of silence, after which it is a turn as well
        self.decoder = SoundDecoder(settings.format.type)
        self._turn = ""  # the id of the item that is being spoken
        # Push-to-talk: what is not committed; else: since the last turn.
        self._gathered: list[np.ndarray] = []
        self._commits: deque[int] = deque()  # samples of the queue after which a turn ends
        self._committed = 0  # the last of them
        self.configure(settings)

    def configure(self, settings: AudioInput) -> None:
        """Take new settings; what was not heard yet goes on under them."""
        if settings.format.type != self.decoder.kind:
            self.decoder = SoundDecoder(settings.format.type)
        vad, was_live = settings.turn_detection, self.detector is not None
        self.idle_ms = vad.idle_timeout_ms if isinstance(vad, ServerVad) else None
        speaking = was_live and self.speaking
        if vad is None:
            self.detector = None
            if was_live:
                self._commits.clear()
                self._committed = self.queue.taken
                self._gathered, self._turn = [self.queue.take_all()], ""
            return
        if isinstance(vad, ServerVad):
            self.detector = SpeechDetector(vad.threshold, vad.silence_duration_ms)
            self.prefix_ms = vad.prefix_padding_ms
        else:
            assert isinstance(vad, SemanticVad)
            self.detector = SpeechDetector(silence_ms=EAGERNESS_MS[vad.eagerness])
            self.prefix_ms = PREFIX_MS
        self.detector.speaking = speaking
        if not was_live:
            gathered, self._gathered = self._gathered, []
            for sound in gathered:
                self.queue.push(sound)

    @property
    def speaking(self) -> bool:
        return self.detector is not None and self.detector.speaking

    def append(self, data: bytes) -> np.ndarray:
        """Sound in the session's format; float32 [N] of it.

        Raises:
            RequestError: too much waits already.
        """
        sound = self.decoder.decode(data)
        if self.detector is not None:
            self.queue.push(sound)
        elif sum(map(len, self._gathered)) + len(sound) > MAX_SECONDS * SAMPLE_RATE:
            raise RequestError(
                f"The buffer holds {MAX_SECONDS} s of sound; commit or clear it.",
                "input_audio_buffer_full",
            )
        else:
            self._append(sound)
        return sound

    def _append(self, sound: np.ndarray) -> None:
        """Keep it for a commit; small pieces are joined, or counting many would take long."""
        if self._gathered and len(self._gathered[-1]) + len(sound) <= STEP_SAMPLES:
            sound = np.concatenate([self._gathered.pop(), sound])
        self._gathered.append(sound)

    def commit(self) -> Spoken | None:
        """End the turn: at once with push-to-talk, else when all that came has been heard.

        Raises:
            RequestError: there is nothing to commit.
        """
        if self.detector is not None:
            end = self.queue.taken + len(self.queue)
            if end - self._committed < SHORTEST:
                raise self._empty()
            self._commits.append(end)
            self._committed = end
            return None
        self._append(self.decoder.finish())
        sound = np.concatenate(self._gathered)
        if len(sound) < SHORTEST:
            raise self._empty()
        self._gathered = []
        return Spoken(new_id("item"), sound)

    @staticmethod
    def _empty() -> RequestError:
        return RequestError(
            "The buffer holds less than 100 ms of sound; append some first.",
            "input_audio_buffer_commit_empty",
        )

    def clear(self) -> None:
        """Forget what was neither heard nor committed."""
        self.decoder.finish()
        self.queue.clear()
        self._gathered, self._turn = [], ""
        self._commits.clear()
        self._committed = self.queue.taken
        if self.detector:
            self.detector.stop()

    def step(self) -> tuple[np.ndarray, list[Heard]]:
        """The next 250 ms, float32 [6000], and what they did to the turn. Not for push-to-talk."""
        assert self.detector is not None
        before = self.ms
        step = self.queue.take()
        self._gather(step)
        heard: list[Heard] = []
        for change in self.detector.hear(step):
            if change.begins:
                if not self._commits:
                    self._forget(self._prefix())
                self._turn = new_id("item")
                ms = min(self.ms, before + change.frame * 10)
                heard.append(Started(self._turn, max(0, ms - self.prefix_ms)))
            else:
                heard += self._end()
                self._gathered = [step[(change.frame + 1) * FRAME :]]  # another may begin in it
        while self._commits and self.queue.taken >= self._commits[0]:
            self._commits.popleft()
            heard += self.end_turn() or self._end()
        return step, heard

    def end_turn(self) -> list[Heard]:
        """End the turn that is being spoken, if one is."""
        if not self.speaking:
            return []
        assert self.detector is not None
        self.detector.stop()
        return self._end()

    def time_out(self) -> Spoken:
        """The silence since the last turn, as a turn."""
        spoken = self._end()[-1]
        assert isinstance(spoken, Spoken)
        return spoken

    def _end(self) -> list[Heard]:
        """A turn that no speech began, but a commit ended, has no beginning and end to tell."""
        spoke, item_id = bool(self._turn), self._turn or new_id("item")
        sound = np.concatenate(self._gathered) if self._gathered else np.zeros(0, np.float32)
        self._gathered, self._turn = [], ""
        self._committed = max(self._committed, self.queue.taken)
        turn = Spoken(item_id, sound)
        return [Stopped(item_id, self.ms), turn] if spoke else [turn]

    def _gather(self, step: np.ndarray) -> None:
        """Keep a turn's sound; between turns, only as much as the next one's prefix."""
        self._gathered.append(step)
        most = MAX_SECONDS * SAMPLE_RATE
        if not self.speaking and not self._commits:
            most = max(self._prefix(), (self.idle_ms or 0) * SAMPLE_RATE // 1_000)
        self._forget(most)

    def _prefix(self) -> int:
        """Samples before speech that a turn keeps, those by which it was told among them."""
        return self.prefix_ms * SAMPLE_RATE // 1_000 + AMONG * FRAME

    def _forget(self, most: int) -> None:
        """Keep the last `most` samples, to the step."""
        while (len(self._gathered) - 1) * STEP_SAMPLES >= most and len(self._gathered) > 1:
            self._gathered.pop(0)

    @property
    def ms(self) -> int:
        """Milliseconds of the client's sound that were played to the model."""
        return self.queue.taken * 1_000 // SAMPLE_RATE
