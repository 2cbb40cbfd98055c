"""Held-out scenes through a live session, step by step, and what came of every request.

The session hears, sees and reads exactly what a person's would, on the clock. An answer belongs
to the request whose moment came last; what comes when nothing is asked is counted against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.data.world.scenes import DRAWING_STEPS, Reply, Scene
from quintet.evals.recognizer import spell
from quintet.live.session import StepOutput

EARLY = 1  # steps before the scripted moment in which an answer is still an answer
LATE = 2  # steps after the scripted end in which an answer may still be ending
AFTERWARDS = 10  # steps that a scene goes on in silence, so that a late answer is heard


class SteppedSession(Protocol):
    """What scoring needs of `quintet.live.Session`."""

    def step(
        self, audio: np.ndarray, image: np.ndarray | None = None, text: str | None = None
    ) -> StepOutput: ...


@dataclass(frozen=True)
class Outcome:
    """One request, and what the model did about it."""

    reply: Reply  # what it should have done
    text: str
    speech: np.ndarray  # float32 [samples]: what it said, without the silence around
    pictures: tuple[np.ndarray, ...]  # finished ones, uint8 [H, W, 3]
    delay_seconds: float | None  # from the request's end to the first output; None: no answer

    @property
    def names_it(self) -> bool:
        """The thing's name is among the written words."""
        return self.reply.thing is not None and mentions(self.text, self.reply.thing.name)

    @property
    def is_exact(self) -> bool:
        """The written words are the expected ones."""
        return spell(self.text) == spell(self.reply.text)


@dataclass(frozen=True)
class SceneResult:
    """What a scene showed: one outcome a request, and every step in which nothing was asked."""

    scene: Scene
    outcomes: tuple[Outcome, ...]
    steps: tuple[StepOutput, ...]
    quiet_steps: int
    false_speech_steps: int  # of the quiet ones: the model spoke
    false_output_steps: int  # of the quiet ones: it spoke, wrote or drew


def mentions(text: str, name: str) -> bool:
    """`name` is one of the words of `text`."""
    return spell(name) in spell(text).split()


def is_active(out: StepOutput) -> bool:
    """The model spoke, wrote or drew in this step."""
    return out.speaking or bool(out.text) or out.image is not None


def run_scene(session: SteppedSession, scene: Scene) -> SceneResult:
    """Play `scene` to a fresh session and sort what it gives by request."""
    shown = {one.step: one.picture for one in scene.shown}
    typed = {one.step: one.text for one in scene.typed}
    silence = np.zeros(AFTERWARDS * STEP_SAMPLES, np.float32)
    microphone = np.concatenate([scene.microphone, silence]).reshape(-1, STEP_SAMPLES)
    steps = [
        session.step(sound, shown.get(step), typed.get(step))
        for step, sound in enumerate(microphone)
    ]
    edges = [*(reply.step - EARLY for reply in scene.replies), len(steps) + 1]
    outcomes = tuple(
        _outcome(scene, reply, [out for out in steps if start <= out.step < end])
        for reply, (start, end) in zip(scene.replies, pairwise(edges), strict=True)
    )
    busy = set[int]()
    for reply in scene.replies:
        busy |= set(range(reply.step - EARLY, reply.step + _length(reply) + LATE))
    quiet = [out for out in steps if out.step not in busy]
    return SceneResult(
        scene, outcomes, tuple(steps), len(quiet),
        sum(out.speaking for out in quiet), sum(is_active(out) for out in quiet),
    )  # fmt: skip


def _length(reply: Reply) -> int:
    """Steps that the scripted answer lasts."""
    spoken = -(-len(reply.speech) // STEP_SAMPLES)
    return max(spoken, DRAWING_STEPS if reply.drawing is not None else 0)


def _outcome(scene: Scene, reply: Reply, steps: list[StepOutput]) -> Outcome:
    first = next((out.step for out in steps if is_active(out)), None)
    spoken = [out.audio for out in steps if out.speaking]
    return Outcome(
        reply,
        "".join(out.text for out in steps),
        np.concatenate(spoken) if spoken else np.zeros(0, np.float32),
        tuple(out.image for out in steps if out.image_done and out.image is not None),
        None if first is None else first * STEP_SAMPLES / SAMPLE_RATE - _asked(scene, reply),
    )


def _asked(scene: Scene, reply: Reply) -> float:
    """The second in which the request of `reply` ended."""
    begins = reply.step * STEP_SAMPLES
    if reply.typed:
        return max(one.step + 1 for one in scene.typed if one.step < reply.step) * 0.25
    return max(line.end_sample for line in scene.lines if line.end_sample <= begins) / SAMPLE_RATE


def outcomes_of(
    results: Iterable[SceneResult], kind: str, typed: bool | None = None
) -> list[Outcome]:
    """Every outcome of one kind of request (asked by text or by voice, or both)."""
    return [
        outcome
        for result in results
        for outcome in result.outcomes
        if outcome.reply.kind == kind and typed in (None, outcome.reply.typed)
    ]
