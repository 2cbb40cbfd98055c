"""Long scenes: what is right at each of their moments, and that scenes repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import needs_world

from quintet.config import STEP_SAMPLES, UserError
from quintet.data.world.encounters import INTERRUPTED_AFTER, SHARES, make_encounter
from quintet.data.world.scene_files import load_scene, save_scene
from quintet.data.world.scenes import Moment, Scene

pytestmark = needs_world


def _with(kind: str, least: int = 1) -> list[tuple[Scene, Moment]]:
    """Every moment of `kind` in the first scenes of it."""
    found: list[tuple[Scene, Moment]] = []
    for seed in range(40):
        scene = make_encounter(seed, "train", (kind,), max_steps=60)
        found += [(scene, moment) for moment in scene.moments]
        if len(found) >= least:
            return found
    raise AssertionError(f"no {kind}")


def _step(sample: int) -> int:
    return sample // STEP_SAMPLES


def test_an_interrupted_answer_ends_soon_after_somebody_begins() -> None:
    cut = 0
    for scene, moment in _with("interruption", 4):
        begins = _step(moment.start_sample)
        reply = max((r for r in scene.replies if r.step <= begins), key=lambda r: r.step)
        assert reply.step < begins
        last = reply.step + reply.num_steps  # the first step without it
        assert last <= begins + INTERRUPTED_AFTER
        cut += reply.until_step is not None
        if reply.until_step is not None:
            assert last == reply.until_step and len(reply.heard) < len(reply.speech)
    assert cut


def test_mm_hm_stops_nobody() -> None:
    for scene, moment in _with("backchannel", 2):
        begins = _step(moment.start_sample)
        reply = max((r for r in scene.replies if r.step <= begins), key=lambda r: r.step)
        assert reply.until_step is None and begins < reply.step + reply.num_steps


def test_nothing_is_answered_before_a_request_has_gone_on() -> None:
    for scene, moment in _with("hesitation", 3):
        line = next(one for one in scene.lines if one.start_sample < moment.start_sample
                    and moment.end_sample < one.end_sample)  # fmt: skip
        reply = min((r for r in scene.replies if r.request == line.text), key=lambda r: r.step)
        assert reply.step > _step(line.end_sample) and moment.end_sample > moment.start_sample
        gap = scene.microphone[moment.start_sample + 600 : moment.end_sample - 600]
        said = scene.microphone[line.start_sample : line.end_sample]
        assert np.abs(gap).max() < np.abs(said).max()


def test_what_is_sought_is_told_in_the_next_step() -> None:
    for scene, moment in _with("watch", 2):
        step = _step(moment.start_sample)
        shown = next(one for one in scene.shown if one.step == step)
        told = next(r for r in scene.replies if r.kind == "seen" and r.step == step + 1)
        assert told.thing == shown.thing and shown.thing.name in told.text


def test_dictation_is_written_in_silence() -> None:
    for scene, moment in _with("dictation", 2):
        line = next(one for one in scene.lines if one.start_sample == moment.start_sample)
        written = next(r for r in scene.replies if r.request == line.text)
        assert not len(written.speech) and written.text.lower() == line.text.lower()
        assert written.step > _step(line.end_sample - 1)


def test_a_scene_repeats_survives_a_folder_and_ends_in_time(tmp_path: Path) -> None:
    scene, again = make_encounter(3, "test", max_steps=40), make_encounter(3, "test", max_steps=40)
    assert np.array_equal(scene.microphone, again.microphone)
    assert (scene.lines, scene.moments) == (again.lines, again.moments)
    assert scene.num_steps <= 40 and len(scene.microphone) == scene.num_steps * STEP_SAMPLES
    cut = next(s for s, _ in _with("interruption", 4) if any(r.until_step for r in s.replies))
    save_scene(cut, tmp_path)
    loaded = load_scene(tmp_path)
    assert loaded.moments == cut.moments
    for one, other in zip(loaded.replies, cut.replies, strict=True):
        assert one.until_step == other.until_step and one.num_steps == other.num_steps
        assert len(one.heard) == len(other.heard)


def test_unknown_events_are_refused() -> None:
    with pytest.raises(UserError, match="juggling"):
        make_encounter(0, "train", ("juggling",))
    assert set(SHARES) >= {"interruption", "backchannel", "hesitation", "watch", "dictation"}
