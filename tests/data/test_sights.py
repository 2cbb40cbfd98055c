"""Short scenes of pictures: what is right after each, and that scenes repeat."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from conftest import needs_world
from scene_digest import digest

from quintet.config import STEP_SAMPLES, UserError
from quintet.data.world.encounters import WATCHED_STEPS, make_encounter
from quintet.data.world.grammar import NO, NUMBERS, YES
from quintet.data.world.scenes import TYPED_DELAY, Scene, answer_step
from quintet.data.world.sights import MAX_STEPS, MOST_OTHERS, make_sights
from quintet.data.world.things import MOST_THINGS, UNCOUNTED, plural, with_article

pytestmark = needs_world
SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_sights(seed, split) for seed in range(20) for split in SPLITS]


def test_a_scene_is_a_function_of_its_arguments_and_ends_in_time(scenes: list[Scene]) -> None:
    assert digest(make_sights(0, "train")) == digest(scenes[0]) != digest(scenes[1])
    assert len({digest(scene) for scene in scenes}) == len(scenes)
    for scene in scenes:
        assert scene.num_steps <= MAX_STEPS
        assert len(scene.microphone) == scene.num_steps * STEP_SAMPLES
        assert all(r.step + r.num_steps <= scene.num_steps for r in scene.replies)
    with pytest.raises(UserError, match="no split"):
        make_sights(0, "held-out")


def test_kinds_are_a_set(scenes: list[Scene]) -> None:
    for kinds in (("watch", "check"), ("check", "watch", "check")):
        assert digest(make_sights(0, "train", kinds)) == digest(scenes[0])
    pairs = [digest(make_sights(0, "train", k)) for k in (("check", "how_many"), ("how_many",) * 2)]
    assert pairs[0] == digest(make_sights(0, "train", ("how_many", "check"))) != pairs[1]
    assert pairs[1] == digest(make_sights(0, "train", ("how_many",)))


def test_what_is_shown_last_is_what_is_asked_about(scenes: list[Scene]) -> None:
    answers = set()
    for scene in scenes:
        for reply in (r for r in scene.replies if r.kind == "check"):
            shown = max((s for s in scene.shown if s.step < reply.step), key=lambda s: s.step)
            assert shown.thing == reply.thing
            a = with_article(shown.thing.name)
            asked = re.search(rf" {a}\b", reply.request) is not None
            assert reply.text == (YES if asked else NO).format(a=a)
            answers.add(asked)
    assert answers == {True, False}


def test_what_is_sought_is_told_and_nothing_else(scenes: list[Scene]) -> None:
    passed = []
    for scene in scenes:
        told = [r for r in scene.replies if r.kind == "seen"]
        orders = [r for r in scene.replies if r.kind == "watch"]
        assert len(told) == len(orders)
        for order, seen in zip(orders, told, strict=True):
            assert seen.thing is not None
            a = with_article(seen.thing.name)
            assert a in order.request and order.text == f"Okay, {a}."
            between = [s for s in scene.shown if order.step <= s.step < seen.step]
            assert between[-1].thing == seen.thing and between[-1].step == seen.step - 1
            assert all(s.thing != seen.thing for s in between[:-1])
            assert seen.step - order.step <= WATCHED_STEPS + order.num_steps
            passed.append(len(between) - 1)
    assert set(passed) == set(range(MOST_OTHERS + 1))


def test_as_many_as_are_shown_are_counted() -> None:
    numbers = Counter[int]()
    for scene in (
        make_sights(seed, split, ("how_many",)) for seed in range(12) for split in SPLITS
    ):
        assert {reply.kind for reply in scene.replies} <= {"how_many"}
        assert len(scene.shown) == len(scene.replies) == len(scene.lines) + len(scene.typed)
        for shown, reply in zip(scene.shown, scene.replies, strict=True):
            assert shown.look is not None and shown.thing == reply.thing and shown.step < reply.step
            count, name = shown.look.count, shown.thing.name
            names = name if count == 1 else plural(name)
            assert reply.text == f"{NUMBERS[count - 1].capitalize()} {names}."
            assert plural(name) in reply.request and name not in UNCOUNTED
            numbers[count] += 1
    assert set(numbers) == set(range(1, MOST_THINGS + 1))


def test_events_that_there_are_not_are_told() -> None:
    with pytest.raises(UserError, match="no events of kind 'draw'; choose from: check, watch, how"):
        make_sights(0, "train", ("draw",))
    for make in (make_sights, make_encounter):  # of no kinds: a silent scene, as in `make_scene`
        scene = make(0, "train", ())
        assert scene.num_steps and not scene.lines and not scene.replies


def test_some_orders_are_typed(scenes: list[Scene]) -> None:
    typed = sum(len(scene.typed) for scene in scenes)
    spoken = sum(len(scene.lines) for scene in scenes)
    assert typed > 10 and spoken > 10
    assert all(line.speaker == "user" for scene in scenes for line in scene.lines)
    for scene in scenes:
        asked = [reply for reply in scene.replies if reply.kind != "seen"]
        written = [reply.step - TYPED_DELAY for reply in asked if reply.typed]
        assert written == [message.step for message in scene.typed]
        heard = [reply.step for reply in asked if not reply.typed]
        assert heard == [answer_step(line.end_sample) for line in scene.lines]
