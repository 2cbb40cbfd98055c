"""Many sessions stepped together: each says what it would say alone."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from test_session import HOT, _inputs, _lively

from quintet.config import STEP_SAMPLES, UserError
from quintet.live.engine import Engine
from quintet.live.session import Session, StepOutput
from quintet.model.decode import Trunk
from quintet.model.omni import Omni
from quintet.tokenizers.bundle import Tokenizers


def _alike(one: StepOutput | UserError, other: StepOutput) -> None:
    """Sound of a batch is rounded otherwise than alone, in the last places."""
    assert isinstance(one, StepOutput)
    assert (one.step, one.text, one.counts) == (other.step, other.text, other.counts)
    np.testing.assert_allclose(one.audio, other.audio, atol=1e-4)
    assert (one.image is None) == (other.image is None)
    if one.image is not None and other.image is not None:
        assert np.abs(one.image.astype(int) - other.image).max() <= 1


def test_each_session_equals_itself_alone(model: Omni, tokenizers: Tokenizers) -> None:
    """They join late, sit steps out and leave; three seats for five sessions."""
    _lively(model, tokenizers)
    engine, rng = Engine(model, tokenizers, seats=3), np.random.default_rng(0)
    waiting = list(range(5))
    inputs = {index: _inputs(20 + index, 6 + 2 * index) for index in waiting}
    alone = {index: Session(model, tokenizers, HOT, seed=index) for index in waiting}
    seats: dict[int, int] = {}  # seat -> whose
    spoke = drew = 0
    while waiting or seats:
        if waiting and len(seats) < 3 and rng.random() < 0.6:
            index = waiting.pop(0)
            seats[engine.join(HOT, seed=index)] = index
        given = {seat: inputs[index].pop(0) for seat, index in seats.items() if rng.random() < 0.8}
        made = engine.step(given)
        assert made.keys() == given.keys()
        for seat, one in given.items():
            expected = alone[seats[seat]].step(*one)
            _alike(made[seat], expected)
            spoke, drew = spoke + expected.speaking, drew + (expected.image is not None)
            if not inputs[seats[seat]]:
                engine.leave(seat)
                del seats[seat]
    assert spoke > 3 and drew > 3


def test_a_step_tells_how_long_it_took(model: Omni, tokenizers: Tokenizers) -> None:
    engine = Engine(model, tokenizers, seats=1)
    seat, quiet = engine.join(), np.zeros(STEP_SAMPLES, np.float32)
    began = time.perf_counter()
    made = engine.step({seat: (quiet, None, None)})[seat]
    assert isinstance(made, StepOutput)
    assert 0 < made.seconds <= time.perf_counter() - began


def test_a_full_engine_says_so(model: Omni, tokenizers: Tokenizers) -> None:
    engine = Engine(model, tokenizers, seats=2)
    assert [engine.join(), engine.join()] == [0, 1]
    with pytest.raises(UserError, match="2 seats are taken"):
        engine.join()
    engine.leave(0)
    assert engine.join() == 0 and not engine.step({})


def test_a_wrong_input_disturbs_nobody(model: Omni, tokenizers: Tokenizers) -> None:
    engine, alone = Engine(model, tokenizers, seats=3), Session(model, tokenizers, HOT, seed=1)
    seats = [engine.join(HOT, seed) for seed in range(3)]
    for one in _inputs(3, 4):
        short = (np.zeros(5, np.float32), None, None)
        made = engine.step({seats[0]: short, seats[1]: one, seats[2]: one})
        assert isinstance(made[seats[0]], UserError)
        _alike(made[seats[1]], alone.step(*one))
    assert engine.sessions[seats[0]].now == 0
    assert not len(engine.sessions[seats[0]].decoder.cache.held())


@pytest.mark.parametrize("what", ["read", "rows", "answer", "output"])
def test_a_session_that_fails_disturbs_nobody(
    model: Omni, tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Before its input is taken in, in its first round or a later one, or after its answer is
    made; its seat serves again."""
    engine, alone = Engine(model, tokenizers, seats=2), Session(model, tokenizers, HOT, seed=1)
    for seed in range(2):
        engine.join(HOT, seed)
    inputs = _inputs(4, 4)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    for one in inputs[:2]:
        _alike(engine.step(dict.fromkeys(range(2), one))[1], alone.step(*one))
    session = engine.sessions[0]
    failing = session.decoder if what in ("rows", "answer") else session
    monkeypatch.setattr(failing, what, fail)
    made = engine.step(dict.fromkeys(range(2), inputs[2]))
    assert isinstance(made[0], MemoryError)
    _alike(made[1], alone.step(*inputs[2]))
    engine.renew(0, HOT, seed=9)
    made = engine.step(dict.fromkeys(range(2), inputs[3]))
    _alike(made[0], Session(model, tokenizers, HOT, seed=9).step(*inputs[3]))
    _alike(made[1], alone.step(*inputs[3]))


def test_a_model_that_fails_is_nothing_to_who_stood_still(
    model: Omni, tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of others' step, with numbers that are none; their seats serve again."""
    engine, alone = Engine(model, tokenizers, seats=3), Session(model, tokenizers, HOT, seed=2)
    for seed in range(3):
        engine.join(HOT, seed)
    inputs = _inputs(6, 8)
    for one in inputs[:4]:
        _alike(engine.step(dict.fromkeys(range(3), one))[2], alone.step(*one))
    with monkeypatch.context() as patch:
        extend, calls = Trunk.extend, iter(range(2))

        def fails_at_last(*given: Any) -> torch.Tensor:
            if next(calls):
                raise RuntimeError("out of memory")
            return extend(*given)

        patch.setattr(Trunk, "extend", fails_at_last)
        with pytest.raises(RuntimeError, match="out of memory"):
            engine.step(dict.fromkeys(range(2), inputs[4]))
    for store in (engine.cache.keys, engine.cache.values):
        store[:, :2] = torch.nan
    for seat in range(2):
        engine.leave(seat)
        engine.join(HOT, seed=9)
    fresh = Session(model, tokenizers, HOT, seed=9)
    for one in inputs[4:]:
        made, expected = engine.step(dict.fromkeys(range(3), one)), fresh.step(*one)
        _alike(made[0], expected)
        _alike(made[1], expected)
        _alike(made[2], alone.step(*one))


def test_to_begin_anew_keeps_the_seat(model: Omni, tokenizers: Tokenizers) -> None:
    engine, fresh = (
        Engine(model, tokenizers, seats=2),
        Session(model, tokenizers, HOT, seed=9),
    )
    assert [engine.join(), engine.join()] == [0, 1]
    one = _inputs(3, 1)[0]
    engine.step({0: one, 1: one})
    engine.leave(0)
    engine.renew(1, HOT, seed=9)
    assert engine.sessions.keys() == {1}
    _alike(engine.step({1: one})[1], fresh.step(*one))


def test_a_seat_remembers_nothing_of_who_sat_there(model: Omni, tokenizers: Tokenizers) -> None:
    engine = Engine(model, tokenizers, seats=2)
    engine.join(HOT, seed=8)
    for one in _inputs(5, 5):
        engine.step({0: one})
    engine.leave(0)
    fresh, seat = Session(model, tokenizers, HOT, seed=9), engine.join(HOT, seed=9)
    assert seat == 0
    silence = (np.zeros(STEP_SAMPLES, np.float32), None, None)
    for _ in range(4):
        _alike(engine.step({0: silence})[0], fresh.step(*silence))
    assert torch.equal(torch.tensor(engine.cache.held(0)), torch.tensor(fresh.decoder.cache.held()))
