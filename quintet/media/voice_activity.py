"""Where somebody speaks in a recording of any length: Silero's voice activity detector on a stream.

Sound comes in blocks and leaves as segments; no more than one segment is held in memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr
import torch

from quintet.config import SAMPLE_RATE, UserError

RATE, WINDOW = 16_000, 512  # what the detector hears: samples a second, and at once
WINDOW_SAMPLES = WINDOW * SAMPLE_RATE // RATE  # the same window at 24 kHz
PAUSE_MS = 300  # of silence ends a segment
AROUND_MS = 30  # of sound is kept at both ends
SHORTEST_SECONDS = 0.25  # what is shorter is a click or a cough
QUIET_SAMPLES = WINDOW_SAMPLES  # over which loudness is compared where long speech is cut


@dataclass(frozen=True)
class Speech:
    """A segment: float32 [S] at 24 kHz, and its first sample's place in the recording."""

    start: int
    sound_S: np.ndarray

    @property
    def end(self) -> int:
        return self.start + len(self.sound_S)


class VoiceActivity:
    """Finds speech; one recording at a time, as the detector remembers what it has heard.

    Raises:
        UserError: the detector is not installed.
    """

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        try:
            import silero_vad
        except ImportError:
            raise UserError(
                "Speech is found in recordings by silero-vad, which is not installed; install it: "
                "pip install silero-vad"
            ) from None
        torch.set_num_threads(threads)  # its import sets one for the whole process
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, its own format
            model = silero_vad.load_silero_vad()
        self._iterator = silero_vad.VADIterator(
            model, sampling_rate=RATE, min_silence_duration_ms=PAUSE_MS, speech_pad_ms=AROUND_MS
        )

    def segments(
        self, blocks: Iterable[np.ndarray], longest_seconds: float = 30.0
    ) -> Iterator[Speech]:
        """The speech in a recording, in order, from its blocks of float32 [S] at 24 kHz.

        Longer speech is cut where it is quietest in the second half of `longest_seconds`.
        """
        longest, shortest = int(longest_seconds * SAMPLE_RATE), int(SHORTEST_SECONDS * SAMPLE_RATE)
        assert longest > 2 * WINDOW_SAMPLES
        recent, start, heard = _Recent(), None, 0
        for event in self._events(blocks, recent):
            heard += WINDOW_SAMPLES
            if "start" in event:
                start = event["start"] * SAMPLE_RATE // RATE
            while start is not None and heard - start > longest:
                cut = recent.quietest(start + longest // 2, start + longest)
                yield Speech(start, recent.between(start, cut))
                start = cut
            if "end" in event and start is not None:
                end = event["end"] * SAMPLE_RATE // RATE
                if end - start >= shortest:
                    yield Speech(start, recent.between(start, end))
                start = None
            recent.forget(heard - 4 * WINDOW_SAMPLES if start is None else start)
        if start is not None and recent.end - start >= shortest:
            yield Speech(start, recent.between(start, recent.end))

    def _events(self, blocks: Iterable[np.ndarray], recent: _Recent) -> Iterator[dict[str, int]]:
        """What the detector says of each window; {} is nothing new."""
        self._iterator.reset_states()
        resampler = soxr.ResampleStream(SAMPLE_RATE, RATE, 1, dtype="float32")
        waiting = np.zeros(0, np.float32)
        for block_S in blocks:
            recent.add(block_S)
            waiting = np.concatenate([waiting, resampler.resample_chunk(block_S)])
            whole = len(waiting) - len(waiting) % WINDOW
            for window in waiting[:whole].reshape(-1, WINDOW):
                yield self._iterator(torch.from_numpy(window.copy())) or {}
            waiting = waiting[whole:]
        rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        waiting = np.concatenate([waiting, rest])
        for window in np.pad(waiting, (0, -len(waiting) % WINDOW)).reshape(-1, WINDOW):
            yield self._iterator(torch.from_numpy(window.copy())) or {}


class _Recent:
    """The end of the sound that has come, by places in the whole."""

    def __init__(self) -> None:
        self._first = 0
        self._sound_S = np.zeros(0, np.float32)

    @property
    def end(self) -> int:
        return self._first + len(self._sound_S)

    def add(self, block_S: np.ndarray) -> None:
        self._sound_S = np.concatenate([self._sound_S, block_S])

    def forget(self, before: int) -> None:
        count = max(0, before - self._first)
        if count > SAMPLE_RATE:  # not at every window: what stays is copied
            self._sound_S = self._sound_S[count:].copy()
            self._first += count

    def between(self, start: int, end: int) -> np.ndarray:
        assert start >= self._first
        return self._sound_S[start - self._first : end - self._first].copy()

    def quietest(self, start: int, end: int) -> int:
        """The middle of the quietest window between two places."""
        sound_S = self.between(start, end)
        windows = sound_S[: len(sound_S) - len(sound_S) % QUIET_SAMPLES].reshape(-1, QUIET_SAMPLES)
        return start + int((windows**2).mean(1).argmin()) * QUIET_SAMPLES + QUIET_SAMPLES // 2
