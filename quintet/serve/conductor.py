"""The one engine of a server and the thread in which it computes.

Connections ask for their steps whenever their clock says so; the clocks are aligned, and all that
is asked for by the time the thread is free is computed as one step of the engine. Nothing here
waits for a socket.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol, TypeVar

import numpy as np

from quintet.config import STEP_SAMPLES, OmniConfig
from quintet.live.engine import Given
from quintet.live.sampling import Sampling
from quintet.live.session import StepOutput
from quintet.serve.metrics import Metrics
from quintet.serve.voices import Voiced, speaker_of

GIVE_WAY_SECONDS = 0.25  # that others wait at most: a row in each step of the clock

T = TypeVar("T")


class LiveEngine(Protocol):
    """What the server needs of `quintet.live.Engine`."""

    def join(self, *, seed: int, speaker: np.ndarray | None = None) -> int: ...

    def renew(self, seat: int, *, seed: int, speaker: np.ndarray | None = None) -> None: ...

    def tune(self, seat: int, sampling: Sampling) -> None: ...

    def leave(self, seat: int) -> None: ...

    def step(self, given: Mapping[int, Given]) -> dict[int, StepOutput | Exception]: ...


class LiveModel(Voiced, Protocol):
    """What the server needs of `quintet.live.Quintet`."""

    @property
    def config(self) -> OmniConfig: ...

    def engine(self, seats: int) -> LiveEngine: ...


class Conductor:
    """Takes seats, steps and leavings from the event loop to the model's thread, in order.

    Args:
        worker: runs one job at a time; a thread of its own by default.
        metrics: are told how long each step of the engine took.
    """

    def __init__(
        self,
        model: LiveModel,
        seats: int,
        worker: Executor | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.model, self.seats = model, seats
        self.metrics = metrics or Metrics(seats)
        self.worker = worker or ThreadPoolExecutor(1, thread_name_prefix="model")
        self._rests = threading.Event()  # no step is being computed
        self._rests.set()
        self._engine: LiveEngine | None = None  # made in the model's thread, at the first use
        self._asked: dict[int, tuple[Given, asyncio.Future[StepOutput]]] = {}
        self._round: asyncio.Task[None] | None = None  # that computes what is asked for

    async def warm_up(self) -> None:
        """Compute one step, which is slower than all others, before a person waits for it."""
        await self._in_worker(self._first_step)

    async def join(self, voice: str | None = None) -> int:
        """The seat of a new session, which is given back if the wait for it is cancelled.

        Args:
            voice: the name of one that the session answers in; None, or one that there is not: the
                model's own.
        """
        joining = self.worker.submit(self._join, voice)
        try:
            return await asyncio.wrap_future(joining)
        except asyncio.CancelledError:
            joining.add_done_callback(self._give_back)
            raise

    async def renew(self, seat: int, voice: str | None = None) -> None:
        """A new session at `seat`, in the place of the one there; `voice` as in `join`."""
        await self._in_worker(self._renew, seat, voice)

    async def tune(self, seat: int, sampling: Sampling) -> None:
        """Let the session at `seat` choose like this from its next step on."""
        await self._in_worker(self._need_engine().tune, seat, sampling)

    def leave(self, seat: int) -> None:
        """End a session, once the step that is being computed has ended."""
        self._asked.pop(seat, None)
        with suppress(RuntimeError):  # closed, with all its sessions
            self.worker.submit(self._need_engine().leave, seat)

    def give_way(self) -> None:
        """Wait, in another thread, until no step is being computed; but not for ever."""
        self._rests.wait(GIVE_WAY_SECONDS)

    def close(self) -> None:
        """Compute nothing more than the step that is being computed."""
        self.worker.shutdown(wait=False, cancel_futures=True)

    async def step(
        self, seat: int, audio: np.ndarray, image: np.ndarray | None, text: str | None
    ) -> StepOutput:
        """A step of one session, together with those of others.

        Raises:
            UserError: the input is wrong; the session took nothing in.
            Exception: of the session, or of the model: it can only leave.
        """
        done: asyncio.Future[StepOutput] = asyncio.get_running_loop().create_future()
        self._asked[seat] = ((audio, image, text), done)
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._compute())
        return await done

    async def _compute(self) -> None:
        """What is asked for, and what is asked for meanwhile."""
        while self._asked:
            asked, self._asked = self._asked, {}
            given = {seat: one for seat, (one, _) in asked.items()}
            try:
                made: Mapping[int, StepOutput | Exception] = await self._in_worker(
                    self._step, given
                )
            except Exception as error:  # of the model itself: nobody of this step can go on
                made = dict.fromkeys(asked, error)
            outputs = [output for output in made.values() if isinstance(output, StepOutput)]
            if outputs:  # all say the same: the step was one
                self.metrics.record_step(outputs[0].seconds, len(outputs))
            for seat, (_, done) in asked.items():
                output = made[seat]
                if done.done():  # its connection has gone
                    continue
                if isinstance(output, Exception):
                    done.set_exception(output)
                else:
                    done.set_result(output)

    async def _in_worker(self, job: Callable[..., T], *values: object) -> T:
        """Run `job` in the model's thread: the event loop never computes a step."""
        return await asyncio.get_running_loop().run_in_executor(self.worker, job, *values)

    # ---- in the model's thread

    def _need_engine(self) -> LiveEngine:
        if self._engine is None:
            self._engine = self.model.engine(self.seats)
        return self._engine

    def _step(self, given: Mapping[int, Given]) -> Mapping[int, StepOutput | Exception]:
        self._rests.clear()
        try:
            return self._need_engine().step(given)
        finally:
            self._rests.set()

    def _join(self, voice: str | None = None) -> int:
        return self._need_engine().join(seed=_seed(), speaker=speaker_of(voice, self.model))

    def _give_back(self, joined: Future[int]) -> None:
        if not joined.cancelled() and not joined.exception():
            self.leave(joined.result())

    def _renew(self, seat: int, voice: str | None) -> None:
        self._need_engine().renew(seat, seed=_seed(), speaker=speaker_of(voice, self.model))

    def _first_step(self) -> None:
        seat = self._join()
        try:
            self._need_engine().step({seat: (np.zeros(STEP_SAMPLES, np.float32), None, None)})
        finally:
            self._need_engine().leave(seat)


def _seed() -> int:
    return secrets.randbelow(2**31)
