"""Sessions written down for debugging, with all that was said: off unless a person asks for it.

A model that records stands in the place of the model itself. Its engine notes what each session
was given and what it answered (`quintet.live.recording`), in memory, and when a session ends, its
file is written in a thread of its own: the model's thread never waits for a disk.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from quintet.config import STEPS_PER_SECOND, OmniConfig, UserError
from quintet.live.engine import Given
from quintet.live.recording import Recording
from quintet.live.sampling import Sampling
from quintet.live.session import StepOutput
from quintet.live.turns import TurnReply
from quintet.serve.app import ServedModel
from quintet.serve.conductor import LiveEngine

MINUTES = 10.0  # of a session that are written down
MAX_BYTES = 128 * 2**20  # of its sound and pictures

log = logging.getLogger(__name__)


class Recorder:
    """Writes files into a folder, until it is closed.

    Args:
        minutes: of each session; what comes later is not written down.

    Raises:
        UserError: nothing can be written there.
    """

    def __init__(self, folder: Path, minutes: float = MINUTES) -> None:
        self.folder, self.max_steps = folder, max(1, round(60 * STEPS_PER_SECOND * minutes))
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = folder / f".{secrets.token_hex(8)}"
            probe.touch()
            probe.unlink()
        except OSError:
            raise UserError(
                f"No recording can be written into {folder}; name a folder of yours with --record."
            ) from None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._lock = threading.Lock()  # between the model's thread and the one that closes
        self._open: dict[int, Recording] = {}  # by seat
        self._closed = False

    def begin(self, seat: int, recording: Recording) -> None:
        with self._lock:
            if not self._closed:
                self._open[seat] = recording

    def add(self, seat: int, given: Given, made: StepOutput | Exception) -> None:
        """Note a step, unless the session took nothing in."""
        with self._lock:
            recording = self._open.get(seat)
            if recording is None or isinstance(made, UserError):
                return
            recording.add(*given, None if isinstance(made, Exception) else made.answer)
            if isinstance(made, Exception):
                self._end(seat, "failed")
            elif len(recording.sound) >= self.max_steps or recording.num_bytes >= MAX_BYTES:
                self._end(seat, "limit")

    def tune(self, seat: int, sampling: Sampling) -> None:
        with self._lock:
            if seat in self._open:
                self._open[seat].tune(sampling)

    def end(self, seat: int) -> None:
        with self._lock:
            self._end(seat, "left")

    def close(self) -> None:
        """Write what there is; returns when all files are complete."""
        with self._lock:
            self._closed = True
            for seat in list(self._open):
                self._end(seat, "shutdown")
        self._writer.shutdown(wait=True)

    def _end(self, seat: int, why: str) -> None:
        recording = self._open.pop(seat, None)
        if recording is None:
            return
        recording.ended = why
        if len(recording.sound) > 1 or why == "failed":  # the first step of a server is nobody's
            self._writer.submit(self._write, recording)

    def _write(self, recording: Recording) -> None:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        try:
            recording.save(self.folder / f"{now}-{secrets.token_hex(4)}.safetensors")
        except OSError as error:  # the conversations go on
            log.error("A recording could not be written: %s.", error.strerror)


class RecordingEngine:
    """An engine whose sessions are written down."""

    def __init__(self, engine: LiveEngine, recorder: Recorder, config: OmniConfig) -> None:
        self.engine, self.recorder, self.config = engine, recorder, config

    def join(self, *, seed: int, speaker: np.ndarray | None = None) -> int:
        seat = self.engine.join(seed=seed, speaker=speaker)
        self.recorder.begin(seat, Recording(self.config, seed, Sampling(), speaker=speaker))
        return seat

    def renew(self, seat: int, *, seed: int, speaker: np.ndarray | None = None) -> None:
        self.engine.renew(seat, seed=seed, speaker=speaker)
        self.recorder.end(seat)
        self.recorder.begin(seat, Recording(self.config, seed, Sampling(), speaker=speaker))

    def tune(self, seat: int, sampling: Sampling) -> None:
        self.engine.tune(seat, sampling)
        self.recorder.tune(seat, sampling)

    def leave(self, seat: int) -> None:
        self.engine.leave(seat)
        self.recorder.end(seat)

    def step(self, given: Mapping[int, Given]) -> dict[int, StepOutput | Exception]:
        try:
            made = self.engine.step(given)
        except Exception as error:  # of the model: the step is the last of all who shared it
            for seat, one in given.items():
                self.recorder.add(seat, one, error)
            raise
        for seat, output in made.items():
            self.recorder.add(seat, given[seat], output)
        return made


class RecordedModel:
    """A model whose live sessions are written down; turn mode is not."""

    def __init__(self, model: ServedModel, recorder: Recorder) -> None:
        self.model, self.recorder = model, recorder

    @property
    def config(self) -> OmniConfig:
        return self.model.config

    @property
    def voices(self) -> Mapping[str, np.ndarray]:
        return self.model.voices

    def engine(self, seats: int) -> RecordingEngine:
        return RecordingEngine(self.model.engine(seats), self.recorder, self.config)

    def chat(
        self,
        messages: Sequence[dict[str, object]],
        seed: int = 0,
        *,
        tell: Callable[[str], None] | None = None,
        pause: Callable[[], None] | None = None,
        voice: str | None = None,
    ) -> TurnReply:
        return self.model.chat(messages, seed, tell=tell, pause=pause, voice=voice)
