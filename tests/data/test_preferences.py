"""Pairs differ in their answers alone, and in what they say they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import make_config, make_tokenizers, needs_world

from quintet.config import STEP_SAMPLES, OmniConfig
from quintet.data.documents import DocumentMaker, Material
from quintet.data.preferences import (
    FORMS,
    KEPT_STEPS,
    LIVE_FORMS,
    MOMENTS,
    Pair,
    live_pair,
    pairs_of,
    preference_samples,
    spoil,
    wrong_pair,
)
from quintet.data.scene_rows import SceneEncoder
from quintet.data.shards import load_samples, save_samples
from quintet.data.world.encounters import make_encounter
from quintet.data.world.scenes import CUT_DELAY, Scene, answer_step, make_scene
from quintet.timeline.streams import Stream
from quintet.timeline.targets import NOT_ASKED, Sample
from quintet.tokenizers.bundle import Tokenizers

pytestmark = needs_world
NUM_SCENES = 25


@pytest.fixture(scope="module")
def config() -> OmniConfig:
    small = make_config()
    return replace(small, image=replace(small.image, size=24))  # the world's pictures are not less


@pytest.fixture(scope="module")
def tokenizers(config: OmniConfig) -> Tokenizers:
    return make_tokenizers(config)


@pytest.fixture(scope="module")
def encoder(config: OmniConfig, tokenizers: Tokenizers) -> SceneEncoder:
    return SceneEncoder(config, tokenizers)


@pytest.fixture(scope="module")
def maker(config: OmniConfig, tokenizers: Tokenizers) -> DocumentMaker:
    return DocumentMaker(config, tokenizers, Material.make(config, tokenizers, 1, 0))


def _spoiled(form: str) -> list[tuple[Scene, Scene]]:
    scenes = [make_scene(seed, "train") for seed in range(NUM_SCENES)]
    made = [(scene, spoil(scene, form, np.random.default_rng(scene.seed))) for scene in scenes]
    return [(scene, spoiled) for scene, spoiled in made if spoiled is not None]


def _speaking_steps(scene: Scene) -> set[int]:
    """Steps in which a person begins, or goes on, and has not ended."""
    return {
        step
        for line in scene.lines
        for step in range(line.start_sample // STEP_SAMPLES, line.end_sample // STEP_SAMPLES + 1)
    }


def test_an_unasked_answer_is_one_more() -> None:
    pairs = _spoiled("unasked")
    assert len(pairs) > NUM_SCENES // 3
    for scene, spoiled in pairs:
        (added,) = [r for r in spoiled.replies if all(r is not one for one in scene.replies)]
        assert len(spoiled.replies) == len(scene.replies) + 1
        assert added.step < scene.num_steps and added.step not in _speaking_steps(scene)
        assert all(added.step != reply.step for reply in scene.replies)


def test_an_early_answer_begins_before_the_right_step() -> None:
    pairs = _spoiled("early")
    assert len(pairs) > NUM_SCENES // 3
    moved = [
        ({r.step for r in spoiled.replies} - {r.step for r in scene.replies}, scene)
        for scene, spoiled in pairs
    ]
    before = []
    for (early,), scene in moved:
        right = min(r.step for r in scene.replies if r.step > early and not r.typed)
        assert right in {answer_step(line.end_sample) for line in scene.lines}
        before.append(right - early)
    assert min(before) == 1 and max(before) > 1
    assert any(early in _speaking_steps(scene) for (early,), scene in moved)


def test_a_late_answer_comes_later() -> None:
    pairs = _spoiled("late")
    assert len(pairs) > NUM_SCENES // 3
    for scene, spoiled in pairs:
        assert sum(r.step for r in spoiled.replies) >= sum(r.step for r in scene.replies) + 3


@pytest.mark.parametrize(("form", "kind"), MOMENTS.items())
def test_meddled_answers_are_at_moments_of_their_kind(form: str, kind: str) -> None:
    found = 0
    for seed in range(NUM_SCENES):
        scene = make_encounter(seed, "train", (kind,))
        spoiled = spoil(scene, form, np.random.default_rng(seed))
        if spoiled is None:
            continue
        (pair,) = [
            (right, wrong)
            for right, wrong in zip(scene.replies, spoiled.replies, strict=True)
            if right is not wrong
        ]
        assert {moment.kind for moment in scene.moments} == {kind}
        begun = [moment.start_sample // STEP_SAMPLES for moment in scene.moments]
        right, wrong = (reply.until_step for reply in pair)
        until, never = (right, wrong) if form == "talks on" else (wrong, right)
        assert never is None and until is not None and until - CUT_DELAY in begun
        assert len(pair[0].speech) > (until - pair[0].step) * STEP_SAMPLES
        found += 1
    assert found > NUM_SCENES // 2


def test_no_pair_is_made_of_a_scene_that_is_no_example_itself() -> None:
    scene = next(
        scene
        for scene in (make_encounter(seed, "train", ("interruption",)) for seed in range(20))
        if any(moment.kind == "slip" for moment in scene.moments)
    )
    assert all(spoil(scene, form, np.random.default_rng(0)) is None for form in LIVE_FORMS)


def _outputs(sample: Sample, last: int) -> list[tuple[int, ...]]:
    rows = sample.rows.take((sample.rows.flag == 1) & (sample.rows.step <= last))
    return [tuple(row) for row in np.column_stack([rows.stream, rows.step, rows.tokens])]


@pytest.mark.parametrize("form", LIVE_FORMS)
def test_both_of_a_live_pair_hear_the_same_and_part_near_the_end(
    encoder: SceneEncoder, form: str
) -> None:
    for seed in range(4):
        pair = live_pair(encoder, form, np.random.default_rng(seed))
        heard = [s.rows.take(s.rows.flag == 0) for s in (pair.chosen, pair.rejected)]
        for column in ("stream", "modality", "tokens", "position", "step"):
            assert np.array_equal(*(getattr(rows, column) for rows in heard)), column
        end = int(heard[0].step.max())
        assert _outputs(pair.chosen, end) != _outputs(pair.rejected, end)
        before = end - KEPT_STEPS
        assert _outputs(pair.chosen, before) == _outputs(pair.rejected, before)
        speaking, quiet = pair.chosen, pair.rejected
        if form not in ("late", "stops"):
            speaking, quiet = quiet, speaking
        assert len(_outputs(speaking, end)) > len(_outputs(quiet, end))


def test_yes_is_rejected_where_no_is_right_and_the_other_way(
    maker: DocumentMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintet.data.preferences.ASKED", ("check",))
    told = []
    for seed in range(12):
        pair = wrong_pair(maker, np.random.default_rng(seed))
        own = [s.rows.tokens[(s.rows.stream == Stream.TEXT_OUT), 0].tolist() for s in
               (pair.chosen, pair.rejected)]  # fmt: skip
        text = [maker.tokenizers.text.decode(ids[:-1]) for ids in own]
        first, rest = zip(*(one.split(", ") for one in text), strict=True)
        told.append(rest[0] == rest[1])
        assert not told[-1] or set(first) == {"Yes", "No"}
    assert 2 < sum(told) < 10


def test_a_wrong_answer_answers_the_same_request(maker: DocumentMaker) -> None:
    for seed in range(6):
        pair = wrong_pair(maker, np.random.default_rng(seed))
        first = int(np.argmax(pair.chosen.rows.flag))
        assert first == int(np.argmax(pair.rejected.rows.flag))
        for column in ("stream", "tokens", "step"):
            asked = [getattr(s.rows, column)[:first] for s in (pair.chosen, pair.rejected)]
            assert np.array_equal(*asked), column
        words = [s.rows.tokens[s.rows.stream == Stream.TEXT_OUT, 0] for s in
                 (pair.chosen, pair.rejected)]  # fmt: skip
        assert not np.array_equal(*words)
        assert all((s.audio_target[:, 0] != NOT_ASKED).sum() > 1 for s in
                   (pair.chosen, pair.rejected))  # fmt: skip


def test_a_shard_holds_pairs_and_is_a_pure_function_of_the_seed(
    maker: DocumentMaker, encoder: SceneEncoder, tmp_path
) -> None:
    samples = preference_samples(maker, encoder, len(FORMS), seed=5)
    save_samples(tmp_path / "one", samples)
    save_samples(tmp_path / "two", preference_samples(maker, encoder, len(FORMS), seed=5))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    pairs = pairs_of(load_samples(tmp_path / "one"))
    assert len(pairs) == len(FORMS)
    for pair, made in zip(pairs, pairs_of(samples), strict=True):
        assert isinstance(pair, Pair)
        assert np.array_equal(pair.chosen.rows.tokens, made.chosen.rows.tokens)
        assert np.array_equal(pair.rejected.text_target, made.rejected.text_target)
