"""Steps asked for at the same time are one step of the engine, and one's fault is not another's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from typing import Any

import numpy as np
import pytest
from fake import FakeEngine, FakeModel

from quintet.config import STEP_SAMPLES, UserError
from quintet.live.engine import Given
from quintet.live.session import StepOutput
from quintet.serve.conductor import Conductor

SILENCE = np.zeros(STEP_SAMPLES, np.float32)


class _Engine(FakeEngine):
    def step(self, given: Mapping[int, Given]) -> dict[int, StepOutput | Exception]:
        assert isinstance(self.model, _Model)
        self.model.together.append(sorted(given))
        return super().step(given)


class _Gated(FakeEngine):
    """Sits people down only when the gate is open."""

    def __init__(self, model: FakeModel) -> None:
        super().__init__(model)
        self.gate, self.began = threading.Event(), threading.Event()

    def _wait(self) -> None:
        self.began.set()
        assert self.gate.wait(10)

    def join(self, **named: Any) -> int:
        self._wait()
        return super().join(**named)

    def renew(self, seat: int, **named: Any) -> None:
        self._wait()
        super().renew(seat, **named)


class _GatedModel(FakeModel):
    def __init__(self) -> None:
        super().__init__()
        self.made = _Gated(self)

    def engine(self, seats: int) -> FakeEngine:
        return self.made


class _Model(FakeModel):
    """Notes which seats were stepped together."""

    def __init__(self) -> None:
        super().__init__(delay=0.02)
        self.together: list[list[int]] = []

    def engine(self, seats: int) -> FakeEngine:
        return _Engine(self)


def _run(job: Coroutine[Any, Any, None]) -> None:
    asyncio.run(job)


def test_what_is_asked_together_is_computed_together() -> None:
    model = _Model()

    async def job() -> None:
        conductor = Conductor(model, 4)
        seats = [await conductor.join() for _ in range(4)]
        for _ in range(3):
            outputs = await asyncio.gather(
                *(conductor.step(seat, SILENCE, None, f"I am {seat}") for seat in seats)
            )
            assert [out.text for out in outputs] == [f"you wrote I am {seat}" for seat in seats]
        first = asyncio.create_task(conductor.step(seats[0], SILENCE, None, None))
        await asyncio.sleep(0.01)  # its step is being computed
        await asyncio.gather(*(conductor.step(seat, SILENCE, None, None) for seat in seats[1:]))
        assert first.done()

        assert conductor.metrics.steps == 5  # of the engine, however many sessions share one
        assert conductor.metrics.step_seconds_sum == pytest.approx(5 * model.seconds)
        told = [sessions for _, sessions in conductor.metrics._recent]
        assert told == [4, 4, 4, 1, 3]

    _run(job())
    assert model.together == [[0, 1, 2, 3]] * 3 + [[0], [1, 2, 3]]
    assert len(model.threads) == 1


def test_a_refused_input_and_a_session_that_fails_are_nothing_to_others() -> None:
    async def job() -> None:
        conductor = Conductor(FakeModel(), 3)
        seats = [await conductor.join() for _ in range(3)]
        words = ("refuse", "crash", "hello")
        refused, failed, answered = await asyncio.gather(
            *(
                conductor.step(seat, SILENCE, None, said)
                for seat, said in zip(seats, words, strict=True)
            ),
            return_exceptions=True,
        )
        assert isinstance(refused, UserError) and isinstance(failed, RuntimeError)
        assert isinstance(answered, StepOutput) and answered.text == "you wrote hello"
        again = await conductor.step(seats[0], SILENCE, None, "still here")
        assert again.text == "you wrote still here"

    _run(job())


def test_a_broken_model_ends_who_shared_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    async def job() -> None:
        conductor = Conductor(FakeModel(), 3)
        seats = [await conductor.join() for _ in range(3)]

        def fail(*_: object) -> None:
            raise RuntimeError("out of memory")

        with monkeypatch.context() as patch:
            patch.setattr(FakeEngine, "step", fail)
            ended = await asyncio.gather(
                *(conductor.step(seat, SILENCE, None, None) for seat in seats[:2]),
                return_exceptions=True,
            )
        assert [str(error) for error in ended] == ["out of memory"] * 2
        assert (await conductor.step(seats[2], SILENCE, None, None)).step == 1

    _run(job())


def test_a_seat_is_free_when_its_session_has_left() -> None:
    async def job() -> None:
        conductor = Conductor(_Model(), 2)
        one, other = await conductor.join(), await conductor.join()
        gone = asyncio.create_task(conductor.step(one, SILENCE, None, None))
        await asyncio.sleep(0.01)
        gone.cancel()
        conductor.leave(one)  # while its step is being computed
        out = await conductor.step(other, SILENCE, None, "hello")
        assert out.text == "you wrote hello"
        assert await conductor.join() == one
        await conductor.renew(other)
        assert (await conductor.step(other, SILENCE, None, None)).step == 1

    _run(job())


def test_a_seat_whose_person_left_while_sitting_down_is_given_back() -> None:
    model = _GatedModel()

    async def job() -> None:
        conductor = Conductor(model, 2)
        gone = asyncio.create_task(conductor.join())
        await asyncio.to_thread(model.made.began.wait, 10)  # it can no longer be called off
        gone.cancel()
        await asyncio.wait([gone])
        model.made.gate.set()
        assert await conductor.join() == 1  # in order, before the seat is given back
        assert await conductor.join() == 0

    _run(job())


def test_who_leaves_while_beginning_anew_disturbs_nobody() -> None:
    model = _GatedModel()

    async def job() -> None:
        conductor = Conductor(model, 2)
        model.made.gate.set()
        one, other = await conductor.join(), await conductor.join()
        conductor.leave(one)  # so that a lower seat than the other's is free
        model.made.gate.clear()
        model.made.began.clear()
        gone = asyncio.create_task(conductor.renew(other))
        await asyncio.to_thread(model.made.began.wait, 10)
        gone.cancel()
        await asyncio.wait([gone])
        conductor.leave(other)
        model.made.gate.set()
        assert {await conductor.join(), await conductor.join()} == {0, 1}

    _run(job())


def test_a_closed_conductor_lets_go() -> None:
    async def job() -> None:
        conductor = Conductor(FakeModel(), 1)
        seat = await conductor.join()
        conductor.close()
        conductor.leave(seat)

    _run(job())
