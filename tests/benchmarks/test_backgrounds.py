"""Things before one colour: they fill what is asked, and a right name is counted once."""

import numpy as np
import pytest
from conftest import needs_world

from benchmarks import backgrounds
from quintet.data.world.things import THINGS

pytestmark = needs_world
COLOUR = (255, 253, 208)


@pytest.mark.parametrize("share", backgrounds.SHARES)
def test_a_thing_fills_its_share_and_the_rest_is_one_colour(share: float) -> None:
    for thing in THINGS[::9]:
        seen = backgrounds.picture(thing, COLOUR, share)
        other = np.argwhere((seen != COLOUR).any(-1))
        sides = other.max(0) - other.min(0) + 1
        assert abs(sides.max() - share * backgrounds.SIDE) <= 3
        assert (seen[[0, -1]] == COLOUR).all()


def test_who_names_one_thing_whatever_is_shown_is_right_once() -> None:
    class Stubborn:
        def chat(self, messages: list[dict[str, object]]) -> object:
            assert messages[0]["content"][1] == "what is this?"  # type: ignore[index]
            return type("Reply", (), {"text": "This is a cat."})

    assert backgrounds.named(Stubborn(), COLOUR, 0.6) == 1  # type: ignore[arg-type]
