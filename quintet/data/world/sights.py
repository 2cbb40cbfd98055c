"""Short scenes of what is shown: is it this, tell me when it is, and how many are there.

Seeing alone gives a name; here what is seen must be compared with what was asked for, live, while
the clock runs. A picture comes every eleven steps (in encounters, every 57), and something is asked
of each:

- *check*: "is this a cat?", spoken or typed, about the picture before it;
- *watch*: "tell me when you see a cat", spoken or typed, then up to five pictures;
- *how_many*: "how many cats do you see?", spoken or typed, about the picture before it, with up to
  five. Scenes have these only where they are asked for.

What was told once is passed over when it comes again. A scene is a pure function of its seed and
split, as all are.
"""

from __future__ import annotations

import numpy as np

from quintet.data.world.encounters import WATCH, Encounter
from quintet.data.world.grammar import how_many, request
from quintet.data.world.pictures import picture_of_several
from quintet.data.world.scenes import PICTURE_SIZE, Scene, check_kinds, check_scene
from quintet.data.world.things import THINGS, with_article
from quintet.data.world.wide_words import pick

MAX_STEPS = 56
EVENTS = (2, 5)  # as far as they fit, most often two
# Relative to each other; things to be watched for fit less often.
SHARES = {"check": 0.4, "watch": 0.6, "how_many": 0.6}
USUAL = ("check", "watch")
TYPED = 0.4  # of the orders; the others are spoken
MOST_OTHERS = 4  # things that are shown and not sought
OF_SIGHTS = (3, 3)  # numbers that follow the seed in no other generator of scenes


class _Sights(Encounter):
    """A scene of pictures in quick succession."""

    def __init__(self, rng: np.random.Generator, split: str, max_steps: int) -> None:
        super().__init__(rng, split, max_steps)
        self.events = {"check": self.check, "watch": self.watch, "how_many": self.how_many}

    def check(self) -> None:
        asked = request("check", self.rng)
        assert asked.thing is not None
        self.show(asked.thing)
        self.pause(0, 3)
        self.ask(asked, TYPED)

    def how_many(self) -> None:
        asked = how_many(self.rng)
        assert asked.thing is not None
        several = picture_of_several(asked.thing, asked.count, self.rng, self.split, PICTURE_SIZE)
        self.show_picture(asked.thing, *several)
        self.pause(0, 3)
        self.ask(asked, TYPED)

    def watch(self) -> None:
        order = self.rng.permutation(len(THINGS))
        sought = THINGS[int(order[0])]
        text = pick(self.rng, WATCH).format(a=with_article(sought.name))
        self.agree(sought, text, *self.say_or_type(text, TYPED))
        for number in order[1 : 1 + int(self.rng.integers(0, MOST_OTHERS + 1))].tolist():
            self.pause(0, 2)
            self.show(THINGS[number])
            self.step += 1
        self.pause(0, 3)
        self.sight(sought, text)


def make_sights(
    seed: int, split: str, kinds: tuple[str, ...] = USUAL, max_steps: int = MAX_STEPS
) -> Scene:
    """A scene of at most `max_steps` steps, a pure function of its arguments.

    `kinds` are those of its events, of `SHARES`; a scene of none is silent.

    Raises:
        UserError: as `scenes.make_scene`.
    """
    check_scene(seed, split, max_steps)
    check_kinds(kinds, SHARES, "Sights have")
    # Scenes of other kinds have other voices, too, where they have the same seed; silent ones none.
    of_kinds = () if set(kinds) == set(USUAL) else sorted({list(SHARES).index(k) for k in kinds})
    rng = np.random.default_rng((seed, split == "test", *OF_SIGHTS, *of_kinds))
    draft = _Sights(rng, split, max_steps)
    draft.pause(0, 4)
    shares = {kind: share for kind, share in SHARES.items() if kind in kinds}
    draft.fill(shares, int(rng.integers(*EVENTS)), (0, 5))
    return draft.scene(seed)
