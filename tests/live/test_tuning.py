"""How a session chooses, when it yields, and that it may be told otherwise while it goes on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import WHOLE
from test_engine import _alike
from test_session import HOT, _inputs, _lively

from quintet.live.engine import Engine
from quintet.live.pretrained import Quintet
from quintet.live.sampling import NEVER, Sampling
from quintet.live.session import Session, StepOutput
from quintet.model.omni import Omni
from quintet.tokenizers.bundle import Tokenizers


@pytest.mark.parametrize("config", [WHOLE], indirect=True)
def test_a_tuned_session_chooses_so_and_its_neighbour_as_before(
    model: Omni, tokenizers: Tokenizers
) -> None:
    _lively(model, tokenizers)
    engine, cold = Engine(model, tokenizers, seats=2), Sampling(0.0, 0.0, 0.0)
    tuned, neighbour = engine.join(cold, seed=1), engine.join(HOT, seed=2)
    engine.tune(tuned, HOT)
    alone = {
        tuned: Session(model, tokenizers, HOT, 1),
        neighbour: Session(model, tokenizers, HOT, 2),
    }
    for one, other in zip(_inputs(30, 4), _inputs(31, 4), strict=True):
        made = engine.step({tuned: one, neighbour: other})
        _alike(made[tuned], alone[tuned].step(*one))
        _alike(made[neighbour], alone[neighbour].step(*other))


def test_speech_under_way_yields_where_silence_is_likely_enough(
    model: Omni, tokenizers: Tokenizers
) -> None:
    _lively(model, tokenizers)

    def steps(yield_above: float, seed: int) -> list[tuple[StepOutput, StepOutput]]:
        session = Session(model, tokenizers, replace(HOT, yield_above=yield_above), seed=seed)
        return list(pairwise(session.step(*one) for one in _inputs(2, 20)))

    def under_way(pairs: list[tuple[StepOutput, StepOutput]]) -> list[StepOutput]:
        return [out for before, out in pairs if before.speaking]

    spoke = 0
    for seed in range(3):
        first = under_way(steps(NEVER, seed))[0]
        if first.speaking:  # which is a draw
            spoke, chance = spoke + 1, first.no_output[1]
            assert under_way(steps(chance, seed))[0].speaking
            assert not under_way(steps(0.99 * chance, seed))[0].speaking
        yielding = steps(0.0, seed)
        assert not any(out.speaking for out in under_way(yielding))
        assert any(out.text or out.image is not None for out in under_way(yielding))  # these go on
        assert any(out.speaking for before, out in yielding if not before.speaking)
    assert spoke


def test_a_session_may_be_told_to_yield_while_it_speaks(
    model: Omni, tokenizers: Tokenizers
) -> None:
    _lively(model, tokenizers)
    session = Session(model, tokenizers, replace(HOT, yield_above=NEVER), seed=3)
    spoke = [session.step(*one).speaking for one in _inputs(2, 40)]
    assert any(both == (True, True) for both in pairwise(spoke))
    session.decoder.sampling = replace(HOT, yield_above=0.0)
    spoke = [session.step(*one).speaking for one in _inputs(3, 40)]
    assert any(spoke) and not any(both == (True, True) for both in pairwise(spoke[1:]))


def test_messages_yield_to_nobody(model: Omni, tokenizers: Tokenizers) -> None:
    _lively(model, tokenizers)
    system = Quintet(model, tokenizers)
    one, other = (
        system.chat([{"role": "user", "content": "count."}], 3, replace(HOT, yield_above=limit))
        for limit in (0.0, NEVER)
    )
    assert one.audio.any() and np.array_equal(one.audio, other.audio)
