"""Moving pictures: a thing moves, turns, comes nearer and is half hidden, scene after scene.

A video is at most four frames a second: a frame a step. Each scene has one thing on one background.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from quintet.config import STEPS_PER_SECOND
from quintet.data.world.pictures import TEST_SIZES, TRAIN_SIZES, Look, make_background
from quintet.data.world.things import Thing
from quintet.media.emoji import render_emoji

HIDDEN = 0.4  # of the thing's width is hidden at most: it stays to be seen
HIDDEN_SHARE = 0.4  # of the scenes in which something passes before the thing


@dataclass(frozen=True)
class _Motion:
    """One scene: where the thing is at its beginning and end, and what hides it."""

    thing: Thing
    background: np.ndarray  # uint8 [H, W, 3]
    look: Look
    places: tuple[tuple[float, float], tuple[float, float]]  # shares of the room there is
    sizes: tuple[float, float]  # shares of the picture's side
    tilts: tuple[float, float]  # degrees
    swing: float  # of the way, up and down
    cover: tuple[int, int, int] | None  # the colour of what passes before the thing


@dataclass
class MovingPicture:
    """Scenes of `steps_each` steps, one thing after another; a pure function of its arguments.

    `split` "test" has backgrounds and sizes that "train" never shows.
    """

    things: tuple[Thing, ...]
    steps_each: int
    seed: int
    split: str
    size: int = 96  # pixels on a side
    _scenes: dict[int, _Motion] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        return self.steps_each * len(self.things)

    def frame(self, step: int) -> tuple[np.ndarray, Thing, Look]:
        """uint8 [size, size, 3], the thing in it and its look, `step` steps after the beginning."""
        assert 0 <= step < self.num_steps
        scene, within = divmod(step, self.steps_each)
        if scene not in self._scenes:
            self._scenes[scene] = self._move(scene)
        motion, share = self._scenes[scene], within / max(1, self.steps_each - 1)
        return *_draw(motion, share, self.size), motion.look

    def _move(self, scene: int) -> _Motion:
        rng = np.random.default_rng((self.seed, self.split == "test", 6, scene))
        background, kind, colours = make_background(rng, self.split, self.size)
        sizes = TEST_SIZES if self.split == "test" else TRAIN_SIZES[int(rng.integers(2))]
        shares = rng.uniform(*sizes, 2)
        cover = None
        if rng.random() < HIDDEN_SHARE:
            tone = np.array([int(colours[1][i : i + 2], 16) for i in (1, 3, 5)]) * 0.6
            red, green, blue = (int(value) for value in tone)
            cover = red, green, blue
        places = rng.random((2, 2))
        return _Motion(
            self.things[scene], background.clip(0, 255).astype(np.uint8),
            Look(kind, colours, round(float(shares[0]), 4)),
            ((places[0, 0], places[0, 1]), (places[1, 0], places[1, 1])),
            (float(shares[0]), float(shares[1])),
            (float(rng.uniform(-25, 25)), float(rng.uniform(-25, 25))),
            float(rng.uniform(0, 0.3)), cover,
        )  # fmt: skip


def _draw(motion: _Motion, share: float, size: int) -> tuple[np.ndarray, Thing]:
    """The frame when a `share` of the scene is over."""
    canvas = Image.fromarray(motion.background)
    emoji = render_emoji(motion.thing.emoji)
    scale = _between(motion.sizes, share) * size / max(emoji.size)
    emoji = emoji.resize(
        (max(1, round(emoji.width * scale)), max(1, round(emoji.height * scale))),
        Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC,
    )
    width = emoji.width
    emoji = emoji.rotate(_between(motion.tilts, share), Image.Resampling.BICUBIC, expand=True)
    (x0, y0), (x1, y1) = motion.places
    x, y = _between((x0, x1), share), _between((y0, y1), share)
    y = min(1, max(0, y + motion.swing * float(np.sin(4 * np.pi * share))))
    left, top = round(x * (size - emoji.width)), round(y * (size - emoji.height))
    canvas.paste(emoji, (left, top), emoji)
    if motion.cover is not None:  # a post that passes from one side to the other
        post = max(1, round(HIDDEN * width * 0.9))
        at = round(share * (size + post)) - post
        canvas.paste(motion.cover, (at, 0, at + post, size))
    return np.asarray(canvas), motion.thing


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


def steps_of(seconds: float, num_things: int) -> int:
    """How many steps each scene of a video gets: at least one."""
    return max(1, round(seconds * STEPS_PER_SECOND / num_things))
