"""How many of a thing are shown, asked aloud and in writing, in scenes of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from quintet.data.world.grammar import NUMBERS
from quintet.data.world.seeds import SEEDS_OF_A_KIND, seeds_of
from quintet.data.world.sights import make_sights
from quintet.data.world.things import MOST_THINGS
from quintet.evals.live_scores import SceneResult, SteppedSession, run_scene
from quintet.evals.recognizer import spell
from quintet.evals.scores import Score, share


def play_counted(
    new_session: Callable[[int], SteppedSession],
    scenes: int,
    seed: int = 0,
    done: Callable[[], None] = lambda: None,
) -> list[SceneResult]:
    """So many held-out scenes, each to a session that `new_session` makes from a number; `done`
    is called after each."""
    results = []
    for index, scene_seed in enumerate(seeds_of("eval_counting", seed * SEEDS_OF_A_KIND, scenes)):
        scene = make_sights(scene_seed, "test", ("how_many",))
        results.append(run_scene(new_session(index), scene))
        done()
    return results


def numbers_in(text: str) -> set[str]:
    """The numbers up to ten that `text` says in words."""
    return set(spell(text).split()) & set(NUMBERS)


def counting(results: Iterable[SceneResult]) -> dict[str, Score]:
    """Whether the number is among the written words, and no other number."""
    outcomes = [outcome for result in results for outcome in result.outcomes]
    asked = {
        way: [o for o in outcomes if o.reply.typed == (way == "text")] for way in ("voice", "text")
    }
    return {
        f"counts_shown_asked_by_{way}": share(
            [numbers_in(o.text) == numbers_in(o.reply.text) for o in some],
            1 / MOST_THINGS,
            [id(o.scene) for o in some],
        )
        for way, some in asked.items()
    }
