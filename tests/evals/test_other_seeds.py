"""Every part of the report card that plays scenes has others at another seed, each of them once."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conftest import needs_world
from players import Silent

from quintet.data.world.scenes import Scene, make_scene
from quintet.evals import behaviour, counting, report, speakers

pytestmark = needs_world
# Nothing is said that a recognizer would judge.
NOBODY: Any = SimpleNamespace(transcribe=None)


@pytest.fixture(scope="module")
def quiet() -> Scene:
    """One in which nothing is asked, that would be answered in another's voice."""
    return make_scene(1, "test", (), other_speaker=True)


@pytest.mark.parametrize(
    ("module", "play"),
    [
        (report, lambda new, seed: report.play(SimpleNamespace(session=new), 2, seed)),  # type: ignore
        (behaviour, lambda new, seed: behaviour.behaviour(new, 2, seed)),
        (counting, lambda new, seed: counting.play_counted(new, 2, seed)),
        (behaviour, lambda new, seed: behaviour.length(new(), 0.5, 0.1, seed)),
        (speakers, lambda new, seed: speakers.speaks_as(new, NOBODY, NOBODY, 2, seed)),
    ],
)
def test_two_seeds_have_no_scene_in_common(
    module: ModuleType,
    play: Callable[[Callable[..., Silent], int], object],
    quiet: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    def make(seed: int, *_: Any, **__: Any) -> Scene:
        made.append(seed)
        return quiet

    for name in {"make_scene", "make_encounter", "make_sights"} & vars(module).keys():
        monkeypatch.setattr(module, name, make)
    play(lambda *_, **__: Silent(quiet), 0)
    several = len(made)
    play(lambda *_, **__: Silent(quiet), 1)
    assert several > 1
    assert len(made) == len(set(made)) == 2 * several
