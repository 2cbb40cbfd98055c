"""The benchmark of preferences judges what a session would do."""

from __future__ import annotations

import pytest
import torch
from conftest import needs_world

import quintet
from benchmarks.preference import UNASKED, _loss_settings, show, silent_throughout
from quintet.config import UserError
from quintet.data.world.scenes import make_scene
from quintet.evals.live_scores import run_scene
from quintet.evals.report import FIRST_SEED, SCENES, SEEDS_EACH
from quintet.live import Sampling


@needs_world
def test_one_pass_says_whether_a_session_is_silent() -> None:
    torch.set_num_threads(1)
    model = quintet.load("nano")
    judged = silent_throughout(model, 9)
    assert judged[2] is False and sum(judged) >= 6
    for index in (2, 7, 8):
        kind = UNASKED[index % 2]
        seed = FIRST_SEED + list(SCENES).index(kind) * SEEDS_EACH + index // 2
        scene = make_scene(seed, "test", kinds=SCENES[kind])
        session = model.session(Sampling(audio_temperature=0.0), seed=0)
        steps = run_scene(session, scene).steps[: scene.num_steps]
        assert judged[index] != any(out.speaking or out.text for out in steps)


def test_a_table_of_both() -> None:
    scores = {"silent": [True, False], "card": {},
              "itself": dict.fromkeys(("starts", "words", "false", "frame"), 0.5)}  # fmt: skip
    table = show(scores, scores | {"silent": [False, True]})
    assert "1 mended, 1 spoiled" in str(table.caption)


@pytest.mark.parametrize(("change", "told"), [("beta", "NAME=VALUE"), ("alpha=1", "beta")])
def test_unknown_settings_are_told(change: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        _loss_settings((change,))
    assert _loss_settings(("beta=0.3", "ipo=true")) == {"beta": 0.3, "ipo": True}
