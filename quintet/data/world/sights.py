"""Short scenes of what is shown: is it this, and tell me when it is.

Seeing alone gives a name; here what is seen must be compared with what was asked for, live, while
the clock runs. A picture comes every eleven steps (in encounters, every 57) and each asks for a
comparison:

- *check*: "is this a cat?", spoken or typed, about the picture before it;
- *watch*: "tell me when you see a cat", spoken or typed, then up to five pictures.

What was told once is passed over when it comes again. A scene is a pure function of its seed and
split, as all are.
"""

from __future__ import annotations

import numpy as np

from quintet.data.world.encounters import WATCH, Encounter
from quintet.data.world.grammar import as_dashed_off, request
from quintet.data.world.scenes import TYPED_DELAY, Scene, Typed, check_scene
from quintet.data.world.things import THINGS, with_article
from quintet.data.world.wide_words import pick

MAX_STEPS = 56
EVENTS = (2, 5)  # as far as they fit, most often two
CHECKS = 0.4  # of the events; the others are things to be watched for, which fit less often
TYPED = 0.4  # of the orders; the others are spoken
MOST_OTHERS = 4  # things that are shown and not sought
OF_SIGHTS = (3, 3)  # numbers with which no other generator begins


class _Sights(Encounter):
    """A scene of pictures in quick succession."""

    def ask(self, text: str) -> tuple[int, bool]:
        """Say or type `text`; the step in which it is answered, and whether it was typed."""
        if self.rng.random() < TYPED:
            self.typed.append(Typed(self.step, as_dashed_off(text, self.rng)))
            return self.step + TYPED_DELAY, True
        return self.speak(text, "user"), False

    def check(self) -> None:
        asked = request("check", self.rng)
        assert asked.thing is not None
        self.show(asked.thing)
        self.pause(0, 3)
        answer, typed = self.ask(asked.text)
        self.step = answer + self.answer(asked, answer, typed)

    def watch(self) -> None:
        order = self.rng.permutation(len(THINGS))
        sought = THINGS[int(order[0])]
        text = pick(self.rng, WATCH).format(a=with_article(sought.name))
        self.agree(sought, text, *self.ask(text))
        for number in order[1 : 1 + int(self.rng.integers(0, MOST_OTHERS + 1))].tolist():
            self.pause(0, 2)
            self.show(THINGS[number])
            self.step += 1
        self.pause(0, 3)
        self.sight(sought, text)


def make_sights(seed: int, split: str, max_steps: int = MAX_STEPS) -> Scene:
    """A scene of at most `max_steps` steps, a pure function of its arguments.

    Raises:
        UserError: as `scenes.make_scene`.
    """
    check_scene(seed, split, max_steps)
    rng = np.random.default_rng((seed, split == "test", *OF_SIGHTS))
    draft = _Sights(rng, split, max_steps)
    draft.pause(0, 4)
    for _ in range(int(rng.integers(*EVENTS))):
        event = draft.check if rng.random() < CHECKS else draft.watch
        if not draft.attempt(event):
            break
        draft.pause(0, 5)
    return draft.scene(seed)
