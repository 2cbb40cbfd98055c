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
from quintet.data.world.scenes import Reply, Scene
from quintet.data.world.things import BY_NAME
from quintet.evals.recognizer import spell
from quintet.live.session import StepOutput

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

    scene: Scene  # in which it was asked
    reply: Reply  # what it should have done
    text: str
    speech: np.ndarray  # float32 [samples]: what it said, without the silence around
    pictures: tuple[np.ndarray, ...]  # finished ones, uint8 [H, W, 3]
    delay_seconds: float | None  # from the request's end to the first output; None: no answer
    # From the step that holds the request's end: 1 is the next step. The script answers spoken
    # requests there if a twelfth of a second is quiet before, and else in the step after it.
    delay_steps: int | None
    talked_over: bool  # the model spoke, wrote or drew while the request was being spoken

    @property
    def names_it(self) -> bool:
        """The thing's name is among the written words, and no other thing's."""
        return self.reply.thing is not None and names_only(self.text, self.reply.thing.name)

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

    @property
    def scripted_steps(self) -> int:
        """Steps in which the script has output."""
        replies = self.scene.replies
        return len({step for r in replies for step in range(r.step, r.step + r.num_steps)})


Results = dict[str, list[SceneResult]]  # by kind of scene


def names_only(text: str, name: str) -> bool:
    """`name` is the one thing that `text` names: whoever lists them all has not answered."""
    return set(spell(text).split()) & set(BY_NAME) == {name}


def is_active(out: StepOutput) -> bool:
    """The model spoke, wrote or drew in this step."""
    return out.speaking or bool(out.text) or out.image is not None


def run_scene(session: SteppedSession, scene: Scene) -> SceneResult:
    """Play `scene` to a fresh session and sort what it gives by request."""
    steps = [session.step(*given) for given in scene.given(AFTERWARDS)]
    asked = [request_of(scene, reply) for reply in scene.replies]
    # The step after the one that holds a request's end is the first that can know all of it.
    edges = [*(last + 1 for _, last, _ in asked), len(steps) + 1]
    outcomes = tuple(
        _outcome(scene, reply, moment, steps, start, end)
        for reply, moment, (start, end) in zip(scene.replies, asked, pairwise(edges), strict=True)
    )
    busy = set[int]()
    for reply, (_, last, _) in zip(scene.replies, asked, strict=True):
        busy |= set(range(last + 1, reply.step + reply.num_steps + LATE))
    quiet = [out for out in steps if out.step not in busy]
    return SceneResult(
        scene, outcomes, tuple(steps), len(quiet),
        sum(out.speaking for out in quiet), sum(is_active(out) for out in quiet),
    )  # fmt: skip


def request_of(scene: Scene, reply: Reply) -> tuple[int, int, float]:
    """First and last step of the request that `reply` answers, and the second of its end."""
    if reply.typed:
        step = max(one.step for one in scene.typed if one.step < reply.step)
        return step, step, (step + 1) * STEP_SAMPLES / SAMPLE_RATE
    begins = reply.step * STEP_SAMPLES
    line = max((one for one in scene.lines if one.end_sample <= begins), key=lambda o: o.end_sample)
    first, last = line.start_sample // STEP_SAMPLES, (line.end_sample - 1) // STEP_SAMPLES
    return first, last, line.end_sample / SAMPLE_RATE


def _outcome(
    scene: Scene,
    reply: Reply,
    moment: tuple[int, int, float],
    steps: list[StepOutput],
    start: int,
    end: int,
) -> Outcome:
    """What came in the steps [start, end), which belong to `reply`; `moment` is `request_of`'s."""
    began, ended, second = moment
    own = [out for out in steps if start <= out.step < end]
    first = next((out.step for out in own if is_active(out)), None)
    spoken = [out.audio for out in own if out.speaking]
    return Outcome(
        scene,
        reply,
        "".join(out.text for out in own),
        np.concatenate(spoken) if spoken else np.zeros(0, np.float32),
        tuple(out.image for out in own if out.image_done and out.image is not None),
        None if first is None else first * STEP_SAMPLES / SAMPLE_RATE - second,
        None if first is None else first - ended,
        # Output of the step in which the request begins was made before any of it was heard.
        any(is_active(out) for out in steps if began < out.step <= ended),
    )


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
