"""Nothing is given to a session in its first step, in which models miss it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import numpy as np
import pytest
from fake import FakeModel, FakeSession

import quintet
from quintet.config import STEP_SAMPLES
from quintet.live.talk import LEAD_STEPS
from quintet.serve.conductor import Conductor

SILENCE = np.zeros(STEP_SAMPLES, np.float32)
THINGS = ("cheese", "pizza", "monkey", "boat")  # all missed without the silence


def conducted(
    model: Any, job: Callable[[Conductor], Coroutine[Any, Any, None]], seats: int = 2
) -> None:
    conductor = Conductor(model, seats)
    try:
        asyncio.run(job(conductor))
    finally:
        conductor.close()


def test_a_session_begins_in_silence_that_no_client_counts() -> None:
    model = FakeModel()

    async def job(conductor: Conductor) -> None:
        seat = await conductor.join()
        assert (await conductor.step(seat, SILENCE, None, "draw")).step == 1
        await conductor.renew(seat)
        assert (await conductor.step(seat, SILENCE, None, "again")).step == 1
        assert (await conductor.step(seat, SILENCE, None, None)).step == 2

    conducted(model, job)
    assert [text for _, _, text in model.heard] == [None, "draw", None, "again", None]
    assert LEAD_STEPS == 1 and model.num_sessions == 2


def test_a_seat_whose_silence_fails_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    step = FakeSession.step

    def fail(self: FakeSession, *given: Any) -> Any:
        monkeypatch.setattr(FakeSession, "step", step)
        raise RuntimeError("the fake is broken")

    monkeypatch.setattr(FakeSession, "step", fail)

    async def job(conductor: Conductor) -> None:
        with pytest.raises(RuntimeError, match="broken"):
            await conductor.join()
        assert [await conductor.join(), await conductor.join()] == [0, 1]

    conducted(FakeModel(), job)


def test_what_is_typed_at_once_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintet.serve.conductor._seed", count().__next__)

    async def draws(conductor: Conductor, thing: str) -> bool:
        seat = await conductor.join()
        words: str | None = f"draw a {thing}."
        for _ in range(20):
            if (await conductor.step(seat, SILENCE, None, words)).image_done:
                return True
            words = None
        return False

    async def job(conductor: Conductor) -> None:
        assert all(await asyncio.gather(*(draws(conductor, thing) for thing in THINGS)))

    conducted(quintet.load("nano"), job, len(THINGS))
