"""Pairs of answers to the same: the one that people would rather have, and one that they would not.

From a live scene, whose own script is the chosen answer, one thing is spoiled: the assistant
speaks where nobody asked it (often about what it overheard), begins before the request has ended,
keeps silent when its turn has come, talks on when it is interrupted, or stops
for a mere "mm-hm". Both ends are cut soon after the two have parted, so that what is learned is the
decision and not the sentence that follows it. From a conversation without a clock: the right
answer, and the right answer to something else.

In a list of samples, as in a shard, chosen and rejected stand by turns.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from quintet.config import STEP_SAMPLES
from quintet.data.documents import ASKED, DocumentMaker
from quintet.data.loader import LATEST_START, Loader
from quintet.data.scene_rows import SceneEncoder
from quintet.data.world.encounters import make_encounter
from quintet.data.world.grammar import THE_ASSISTANT_SAYS, Request, contradicted, request
from quintet.data.world.pictures import canonical_picture
from quintet.data.world.scenes import (
    CUT_DELAY,
    DRAWING_STEPS,
    PICTURE_SIZE,
    Line,
    Reply,
    Scene,
    answer_step,
    assistant_speech,
    make_scene,
)
from quintet.data.world.things import BY_NAME, THINGS, Thing, with_article
from quintet.timeline.rows import Rows
from quintet.timeline.targets import Sample, join

# What the rejected answers are, in turn.
Form = Literal["unasked", "late", "early", "wrong", "talks on", "stops"]
FORMS = get_args(Form)
LIVE_FORMS = ("unasked", "late", "early", "talks on", "stops")
MOMENTS = {"talks on": "interruption", "stops": "backchannel"}  # kinds of encounters they need
KEPT_STEPS = 2  # of a scene, from where the two answers part
LATE_STEPS = (3, 8)  # after its turn, an answer is late
QUIET_AROUND = 2  # steps before and after all events, where no answer belongs
OVERHEARD = 0.7  # of the scenes for unasked answers: nothing but other people's talk
MOST_SCENES = 1_000  # tried for one pair; about every second one has a place for each form
LARGEST_SEED = 2**31


@dataclass(frozen=True)
class Pair:
    """Two samples that differ in their answers alone."""

    chosen: Sample
    rejected: Sample


def pairs_of(samples: Sequence[Sample]) -> list[Pair]:
    """The pairs of a list in which chosen and rejected stand by turns."""
    return [Pair(*both) for both in zip(samples[::2], samples[1::2], strict=True)]


class PairLoader(Loader):
    """Batches of pairs; both of a pair are moved to the same place in time."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        batch_size: int,
        seed: int,
        picture_rows: int,
        latest_start: int = LATEST_START,
    ) -> None:
        both = [join([pair.chosen, pair.rejected]) for pair in pairs]
        super().__init__(both, batch_size, seed, picture_rows, latest_start)
        self._cuts = [len(pair.chosen) for pair in pairs]

    def pairs(self, step: int) -> list[Pair]:
        """The pairs of training step `step`, a pure function of it."""
        cuts = [self._cuts[index] for index in self.indices(step)]
        return [Pair(*_split(both, cut)) for both, cut in zip(self.batch(step), cuts, strict=True)]


def _split(sample: Sample, cut: int) -> tuple[Sample, Sample]:
    first, second = (
        Sample(sample.rows.take(part), sample.text_target[part], sample.audio_target[part])
        for part in (slice(None, cut), slice(cut, None))
    )
    return first, second


def preference_samples(
    maker: DocumentMaker,
    encoder: SceneEncoder,
    count: int,
    seed: int,
    forms: Sequence[str] = FORMS,
) -> list[Sample]:
    """`count` pairs, chosen and rejected by turns; the rejected ones take the `forms` in turn."""
    samples: list[Sample] = []
    for index in range(count):
        rng = np.random.default_rng((seed, 16, index))
        form = forms[index % len(forms)]
        pair = wrong_pair(maker, rng) if form == "wrong" else live_pair(encoder, form, rng)
        samples += [pair.chosen, pair.rejected]
    return samples


def wrong_pair(maker: DocumentMaker, rng: np.random.Generator) -> Pair:
    """A conversation with its answer, and with the answer to another request of its kind; every
    other time with "no" instead of "yes", where that is what was asked."""
    said = other = request(str(rng.choice(ASKED)), rng)
    question = maker.question(said, rng)
    while other.reply == said.reply:
        other = request(said.kind, rng)
    if said.kind == "check" and rng.random() < 0.5:
        other = replace(said, reply=contradicted(said.reply))
    return Pair(maker.answered(question, said), maker.answered(question, other))


def live_pair(encoder: SceneEncoder, form: str, rng: np.random.Generator) -> Pair:
    """A scene as it should go, and spoiled; cut soon after the two part."""
    for _ in range(MOST_SCENES):
        kinds = None
        if form == "unasked" and rng.random() < OVERHEARD:
            kinds = ("chatter",)
        seed = int(rng.integers(LARGEST_SEED))
        if form in MOMENTS:
            scene = make_encounter(seed, "train", (MOMENTS[form],))
        else:
            scene = make_scene(seed, "train", kinds)
        spoiled = spoil(scene, form, rng)
        if spoiled is not None:
            return _cut_pair(encoder, scene, spoiled)
    raise AssertionError(f"no scene has a place for {form!r}")


def spoil(scene: Scene, form: str, rng: np.random.Generator) -> Scene | None:
    """The scene with one answer as it should not be; None where it has no place for that, or is no
    example itself."""
    assert form in LIVE_FORMS
    if any(moment.kind == "slip" for moment in scene.moments):
        return None
    if form == "unasked":
        reply = _unasked(scene, rng)
        return None if reply is None else _with_replies(scene, [*scene.replies, reply])
    spoiled = _meddled(scene, form) if form in MOMENTS else _moved(scene, form)
    if not spoiled:
        return None
    index, reply = spoiled[int(rng.integers(len(spoiled)))]
    return _with_replies(scene, [*scene.replies[:index], reply, *scene.replies[index + 1 :]])


def _moved(scene: Scene, form: str) -> list[tuple[int, Reply]]:
    """Which answers may come too early or too late, each in every such step."""
    return [
        (index, replace(reply, step=step))
        for index, reply in enumerate(scene.replies)
        for step in (_too_early(scene, reply) if form == "early" else _too_late(reply))
        if step < scene.num_steps
    ]


def _meddled(scene: Scene, form: str) -> list[tuple[int, Reply]]:
    """Which answers may go on where somebody interrupts, or stop where somebody says "mm-hm"."""
    kind, talks_on = MOMENTS[form], form == "talks on"
    begun = [m.start_sample // STEP_SAMPLES for m in scene.moments if m.kind == kind]
    ends = [step + CUT_DELAY for step in begun]
    return [
        (index, replace(reply, until_step=None if talks_on else end))
        for index, reply in enumerate(scene.replies)
        for end in ends
        if _is_heard(reply, end) and (reply.until_step == end) == talks_on
    ]


def _is_heard(reply: Reply, step: int) -> bool:
    """Its whole speech would still be heard in `step`."""
    return reply.step < step < reply.step + len(reply.speech) // STEP_SAMPLES


def _with_replies(scene: Scene, replies: list[Reply]) -> Scene:
    return replace(scene, replies=tuple(sorted(replies, key=lambda reply: reply.step)))


def _steps_of(line: Line) -> tuple[int, int]:
    """The first and the last step in which a line is heard."""
    return line.start_sample // STEP_SAMPLES, (line.end_sample - 1) // STEP_SAMPLES


def _too_early(scene: Scene, reply: Reply) -> list[int]:
    """Steps in which the request of `reply` has been heard in part, before that of the answer.
    Half of them are the last of these, which is what a model is tempted by most."""
    for line in scene.lines:
        first, _ = _steps_of(line)
        if not reply.typed and answer_step(line.end_sample) == reply.step:
            steps = list(range(first + 2, reply.step))
            return steps + [reply.step - 1] * len(steps)
    return []


def _too_late(reply: Reply) -> list[int]:
    return list(range(reply.step + LATE_STEPS[0], reply.step + LATE_STEPS[1] + 1))


def _unasked(scene: Scene, rng: np.random.Generator) -> Reply | None:
    """An answer to talk that was not meant for the assistant, as if it had been; or, where there
    is none, an answer to nothing at all."""
    answered = {reply.step for reply in scene.replies if not reply.typed}
    overheard = [
        (line, answer_step(line.end_sample))
        for line in scene.lines
        if answer_step(line.end_sample) not in answered
    ]
    overheard = [(line, step) for line, step in overheard if step < scene.num_steps]
    quiet = sorted(set(range(1, scene.num_steps)) - _busy(scene))
    if overheard:
        line, step = overheard[int(rng.integers(len(overheard)))]
        named = _named_in(line.text)
    elif quiet:
        step, named = int(rng.choice(quiet)), None
    else:
        return None
    shown = [one.thing for one in scene.shown if one.step < step]
    return _reply_about(named or (shown[-1] if shown else None), step, rng)


def _busy(scene: Scene) -> set[int]:
    """Steps in which somebody speaks or types, or the assistant answers, and those around."""
    events = [_steps_of(line) for line in scene.lines]
    events += [(typed.step, typed.step) for typed in scene.typed]
    for reply in scene.replies:
        drawn = DRAWING_STEPS if reply.drawing is not None else 0
        events.append((reply.step, reply.step + max(drawn, len(reply.speech) // STEP_SAMPLES)))
    return {
        step
        for first, last in events
        for step in range(first - QUIET_AROUND, last + QUIET_AROUND + 1)
    }


def _named_in(text: str) -> Thing | None:
    words = text.replace(".", "").replace(",", "").split()
    return next((BY_NAME[word] for word in words if word in BY_NAME), None)


def _reply_about(thing: Thing | None, step: int, rng: np.random.Generator) -> Reply:
    """Naming, drawing or saying `thing`; without one, the answer to a random request."""
    said = request(str(rng.choice(ASKED)), rng)
    if thing is not None:
        kind = str(rng.choice(list(THE_ASSISTANT_SAYS)))
        a, name = with_article(thing.name), thing.name.capitalize()
        said = Request(kind, "", THE_ASSISTANT_SAYS[kind].format(a=a, Name=name), thing)
    drawing = None
    if said.kind == "draw":
        drawing = canonical_picture(said.thing or THINGS[0], PICTURE_SIZE)
    speech = assistant_speech(said.reply)
    return Reply(step, said.kind, said.text, False, said.reply, speech, said.thing, drawing)


def _cut_pair(encoder: SceneEncoder, scene: Scene, spoiled: Scene) -> Pair:
    heard = encoder.timeline(replace(scene, replies=()))
    tables = []
    for replies in (scene.replies, spoiled.replies):
        timeline = copy.deepcopy(heard)
        for reply in replies:
            encoder.add_reply(timeline, reply)
        tables.append(timeline.rows())
    end = _parted(*tables) + KEPT_STEPS - 1
    first, second = (encoder.asked(rows.take(rows.step <= end)) for rows in tables)
    return Pair(first, second)


def _parted(chosen: Rows, rejected: Rows) -> int:
    """The first step whose outputs differ."""
    last = int(max(chosen.step.max(), rejected.step.max()))
    for step in range(last + 1):
        first, second = (
            table.take((table.step == step) & (table.flag == 1)) for table in (chosen, rejected)
        )
        if not (
            np.array_equal(first.stream, second.stream)
            and np.array_equal(first.tokens, second.tokens)
        ):
            return step
    raise AssertionError("the two answers are the same")
