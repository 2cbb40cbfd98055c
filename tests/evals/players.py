"""Those who play a scene knowing what is right: perfectly, late, or without ever stopping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quintet.config import STEP_SAMPLES
from quintet.data.world.scenes import Scene
from quintet.live.session import StepOutput


class Player:
    """Gives a scene's own answers, `late` steps after their scripted moment."""

    def __init__(self, scene: Scene, late: int = 0) -> None:
        self.now = 0
        self.text: dict[int, str] = {}
        self.pictures: dict[int, np.ndarray] = {}
        self.sound: dict[int, np.ndarray] = {}
        for reply in scene.replies:
            first = reply.step + late
            self.text[first] = reply.text
            if reply.drawing is not None:
                self.pictures[first + 4] = reply.drawing
            steps = -(-len(reply.heard) // STEP_SAMPLES)
            padded = np.pad(reply.heard, (0, steps * STEP_SAMPLES - len(reply.heard)))
            for index, sound in enumerate(padded.reshape(-1, STEP_SAMPLES)):
                self.sound[first + index] = sound

    def step(
        self, audio: np.ndarray, image: np.ndarray | None = None, text: str | None = None
    ) -> StepOutput:
        self.now += 1
        picture, words = self.pictures.get(self.now), self.text.get(self.now, "")
        sound = self.sound.get(self.now)
        quiet = np.zeros(STEP_SAMPLES, np.float32)
        return StepOutput(
            self.now, quiet if sound is None else sound, sound is not None, words, bool(words),
            picture, picture is not None, {}, (0.0, 0.0), 0.0,
        )  # fmt: skip


class Silent(Player):
    """Says nothing, whatever is asked."""

    def __init__(self, scene: Scene, late: int = 0) -> None:
        super().__init__(replace(scene, replies=()))


class Deaf(Player):
    """Answers as it should, and speaks on when somebody interrupts."""

    def __init__(self, scene: Scene, late: int = 0) -> None:
        replies = tuple(replace(reply, until_step=None) for reply in scene.replies)
        super().__init__(replace(scene, replies=replies), late)


class Slow(Player):
    """Answers as it should, and stops a step late when somebody interrupts."""

    def __init__(self, scene: Scene, late: int = 0) -> None:
        replies = tuple(
            replace(reply, until_step=reply.until_step and reply.until_step + 1)
            for reply in scene.replies
        )
        super().__init__(replace(scene, replies=replies), late)


class Startled(Player):
    """Answers as it should, and is silent in the step after somebody has begun to speak."""

    def __init__(self, scene: Scene, late: int = 0) -> None:
        super().__init__(scene, late)
        for moment in scene.moments:
            self.sound.pop(moment.start_sample // STEP_SAMPLES + 1, None)


class Meddler(Silent):
    """Speaks in the second step of whatever is said, and never else."""

    def __init__(self, scene: Scene, late: int = 0) -> None:
        super().__init__(scene)
        for line in scene.lines:
            self.sound[line.start_sample // STEP_SAMPLES + 1] = np.ones(STEP_SAMPLES, np.float32)


class Reader(Player):
    """Says aloud, a step later, what should only be written."""

    def __init__(self, scene: Scene, late: int = 0) -> None:
        super().__init__(scene, late)
        for reply in scene.replies:
            if not len(reply.speech):
                self.sound[reply.step + 1 + late] = np.ones(STEP_SAMPLES, np.float32)


class Babbler(Player):
    """Hums and names three things in every step, whatever is asked."""

    def step(
        self, audio: np.ndarray, image: np.ndarray | None = None, text: str | None = None
    ) -> StepOutput:
        self.now += 1
        hum = 0.1 * np.sin(np.arange(STEP_SAMPLES) / 20).astype(np.float32)
        return StepOutput(
            self.now, hum, True, "cat dog sun ", True, None, False, {}, (0.0, 0.0), 0.0
        )
