"""The benchmark of preferences judges what a session would do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import needs_world

import quintet
from benchmarks import preference
from benchmarks.preference import _loss_settings, show, silent_throughout
from quintet.config import UserError
from quintet.data.world.scenes import Scene, make_scene
from quintet.evals.live_scores import run_scene
from quintet.live import Sampling


@needs_world
def test_one_pass_says_whether_a_session_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other scene asks for a word and expects none: there the model is not silent."""
    torch.set_num_threads(1)
    model, scenes = quintet.load("nano"), list[Scene]()

    def staged(seed: int, split: str, kinds: tuple[str, ...]) -> Scene:
        scenes.append(replace(make_scene(seed, split, kinds=kinds or ("say",)), replies=()))
        return scenes[-1]

    monkeypatch.setattr(preference, "make_scene", staged)
    judged = silent_throughout(model, 4)
    for silent, scene in zip(judged, scenes, strict=True):
        session = model.session(Sampling(audio_temperature=0.0), seed=0)
        steps = run_scene(session, scene).steps[: scene.num_steps]
        assert silent != any(out.speaking or out.text for out in steps)
    assert set(judged) == {True, False}


def test_a_table_of_both() -> None:
    scores = {"silent": [True, False, False], "card": {},
              "itself": dict.fromkeys(("starts", "words", "false", "frame"), 0.5)}  # fmt: skip
    table = show(scores, scores | {"silent": [False, True, True]})
    assert "Of 3 scenes without a request 2 mended, 1 spoiled" in str(table.caption)


@pytest.mark.parametrize(("change", "told"), [("beta", "NAME=VALUE"), ("alpha=1", "beta")])
def test_unknown_settings_are_told(change: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        _loss_settings((change,))
    assert _loss_settings(("beta=0.3", "ipo=true")) == {"beta": 0.3, "ipo": True}
