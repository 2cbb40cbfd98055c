"""Long scenes: what is right at each of their moments, and that scenes repeat."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from conftest import make_config, make_tokenizers, needs_world

from quintet.config import STEP_SAMPLES, UserError
from quintet.data.scene_rows import SceneEncoder
from quintet.data.world.encounters import (
    FILLERS,
    LONGEST_SLIP,
    SHARES,
    WATCHED_STEPS,
    make_encounter,
)
from quintet.data.world.scene_files import load_scene, save_scene
from quintet.data.world.scenes import CUT_DELAY, Moment, Scene
from quintet.data.world.seeds import SEEDS
from quintet.data.world.things import with_article
from quintet.stages.documents import SCENES
from quintet.timeline.streams import Stream
from quintet.timeline.targets import NOT_ASKED

WITH_SLIPS = (5, 8, 17, 56)  # seeds; in all but one something is asked, and answered
LONG_WATCHES = (123, 231)  # seeds of scenes in which the pictures come slowly

pytestmark = needs_world


def _with(kind: str, least: int = 1) -> list[tuple[Scene, Moment]]:
    """Every moment of `kind` in the first scenes of it."""
    found: list[tuple[Scene, Moment]] = []
    for seed in range(40):
        scene = make_encounter(seed, "train", (kind,), max_steps=60)
        found += [(scene, moment) for moment in scene.moments if moment.kind == kind]
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
        slipped = {_step(m.end_sample) for m in scene.moments if m.kind == "slip"}
        assert last <= begins + CUT_DELAY or last in slipped
        assert all(r.step > begins + CUT_DELAY for r in scene.replies if r.step > reply.step)
        cut += reply.until_step is not None
        if reply.until_step is not None:
            assert last == reply.until_step and len(reply.heard) < len(reply.speech)
    assert cut


def test_in_training_some_fall_silent_late_and_nothing_learns_it() -> None:
    config = make_config()
    encoder, answered_after = SceneEncoder(config, make_tokenizers(config)), 0
    for seed in WITH_SLIPS:
        scene = make_encounter(seed, "train", ("interruption",))
        begun = {_step(m.start_sample) for m in scene.moments if m.kind == "interruption"}
        (slip,) = (m for m in scene.moments if m.kind == "slip")
        steps = range(_step(slip.start_sample), _step(slip.end_sample))
        assert steps.start - CUT_DELAY in begun and 1 <= len(steps) <= LONGEST_SLIP
        sample = encoder.sample(scene)
        rows, plain = sample.rows, encoder.asked(sample.rows)
        said = (rows.stream == Stream.AUDIO_OUT) & np.isin(rows.step, steps)
        assert set(rows.step[said].tolist()) == set(steps)
        answered = rows.step + (rows.flag == 0)
        late = np.isin(answered, steps)
        for name in ("text_target", "audio_target"):
            learned, asked = getattr(sample, name), getattr(plain, name)
            assert (learned[late] == NOT_ASKED).all() and (asked[late] != NOT_ASKED).any()
            assert np.array_equal(learned[~late], asked[~late])
        assert steps.stop in {reply.until_step for reply in scene.replies}
        falls_silent = (answered == steps.stop) & (sample.audio_target[:, 0] != NOT_ASKED)
        assert (sample.audio_target[falls_silent] == config.audio.codebook_size).all()
        assert falls_silent.any()
        after = [reply.step for reply in scene.replies if reply.step >= steps.start]
        assert all(step > steps.stop for step in after)
        soon = range(steps.stop + 1, steps.stop + 4)  # an answer to whoever interrupted
        answered_after += any(step in soon for step in after)
    assert answered_after == len(WITH_SLIPS) - 1


def test_held_out_encounters_have_no_slips() -> None:
    for seed in range(16):
        scene = make_encounter(seed, "test", ("interruption",))
        assert {m.kind for m in scene.moments} <= {"interruption"}


def test_of_an_interrupted_answer_the_words_that_are_heard_are_labelled() -> None:
    for scene, _ in _with("interruption", 4):
        for reply in scene.replies:
            assert reply.words and reply.words[-1].end <= len(reply.heard)
            uncut = " ".join(word.text for word in reply.words) == reply.text
            assert uncut or reply.until_step is not None


def test_rows_of_an_interrupted_answer_end_with_it() -> None:
    """Of its sound and, where a model writes slowly, of its text."""
    config = make_config()
    config = replace(config, live=replace(config.live, text_image_rows_per_step=2))
    encoder, ends = SceneEncoder(config, make_tokenizers(config)), []
    for scene, _ in _with("interruption", 4):
        rows = encoder.timeline(scene).rows()
        spoken = set(rows.step[rows.stream == Stream.AUDIO_OUT].tolist())
        said = [range(reply.step, reply.step + -(-len(reply.heard) // STEP_SAMPLES))
                for reply in scene.replies]  # fmt: skip
        assert spoken == {step for steps in said for step in steps}
        for reply in scene.replies:
            if reply.until_step is not None:
                then = (rows.stream == Stream.TEXT_OUT) & (rows.step == reply.until_step)
                ends.append(rows.tokens[then, 0].tolist()[:1])
    assert [encoder.tokenizers.text.end_id] in ends
    assert all(end in ([], [encoder.tokenizers.text.end_id]) for end in ends)


def test_nobody_answers_into_a_line_or_into_an_answer_and_nothing_lies_outside() -> None:
    """But who interrupts or says "mm-hm", of whom a moment tells."""
    for seed in range(20):
        scene = make_encounter(seed, "train")
        told = {one.start_sample for one in scene.moments}
        free = 0
        for reply in scene.replies:
            assert free <= reply.step
            free = reply.step + reply.num_steps
            assert free <= scene.num_steps
            for line in scene.lines:
                first, last = _step(line.start_sample), _step(line.end_sample - 1)
                spoken_into = reply.step <= first < free
                assert not first <= reply.step <= last or reply.typed
                assert line.start_sample in told or not spoken_into
        for line in scene.lines:
            assert " ".join(word.text for word in line.words) == line.text
        for one in (*scene.lines, *scene.moments):
            assert 0 <= one.start_sample < one.end_sample <= len(scene.microphone)
        assert all(shown.step < scene.num_steps for shown in scene.shown)


def test_mm_hm_stops_nobody() -> None:
    for scene, moment in _with("backchannel", 2):
        begins = _step(moment.start_sample)
        reply = max((r for r in scene.replies if r.step <= begins), key=lambda r: r.step)
        assert reply.until_step is None and begins < reply.step + reply.num_steps
        asked, said = (
            np.abs(scene.microphone[line.start_sample : line.end_sample]).max()
            for line in scene.lines
            if line.text == reply.request or line.start_sample == moment.start_sample
        )
        assert said < 0.8 * asked


def test_nothing_is_answered_before_a_request_has_gone_on() -> None:
    for scene, moment in _with("hesitation", 24):
        line = next(one for one in scene.lines if one.start_sample < moment.start_sample
                    and moment.end_sample < one.end_sample)  # fmt: skip
        reply = min((r for r in scene.replies if r.step > _step(moment.start_sample)),
                    key=lambda r: r.step)  # fmt: skip
        assert set(line.text.split()) - set(FILLERS) == set(reply.request.split())
        assert reply.step > _step(line.end_sample) and moment.end_sample > moment.start_sample
        gap = scene.microphone[moment.start_sample + 600 : moment.end_sample - 600]
        said = scene.microphone[line.start_sample : line.end_sample]
        assert np.abs(gap).max() < np.abs(said).max()
        before = [word.text for word in line.words if word.start < moment.start_sample]
        assert before and all(word.end <= moment.start_sample for word in line.words[: len(before)])
        assert line.words[len(before)].start >= moment.end_sample
        heard = " ".join(before).lower()
        needed = reply.text.lower().strip(".").split()[-1]
        assert not heard.partition(":")[2] and needed not in heard.partition(":")[0].split()


def test_what_is_sought_is_told_in_the_next_step() -> None:
    for scene, moment in _with("watch", 8):
        step = _step(moment.start_sample)
        shown = next(one for one in scene.shown if one.step == step)
        told = next(r for r in scene.replies if r.kind == "seen" and r.step == step + 1)
        assert told.thing == shown.thing and shown.thing.name in told.text
        agreed = max(
            (r for r in scene.replies if r.kind == "watch" and r.step < step),
            key=attrgetter("step"),
        )
        assert agreed.text == f"Okay, {with_article(shown.thing.name)}."
        assert [s.step for s in scene.shown if s.thing == shown.thing and s.step <= step] == [step]


def test_what_is_watched_for_comes() -> None:
    """Else it is still watched for in the next event, whose pictures nobody tells."""
    for seed in LONG_WATCHES:
        scene = make_encounter(seed, "train", ("watch",))
        kinds = [reply.kind for reply in scene.replies]
        assert kinds == ["watch", "seen"] * len(scene.moments)
        waits = [
            seen.step - (agreed.step + agreed.num_steps)
            for agreed, seen in zip(scene.replies[::2], scene.replies[1::2], strict=True)
        ]
        assert max(waits) == WATCHED_STEPS == 22


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


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ("moments", {"interruption", "backchannel", "hesitation", "watch"}),
        ("interruptions", {"interruption", "backchannel"}),
    ],
)
def test_some_documents_hold_some_kinds_of_event(documents: str, expected: set[str]) -> None:
    make, split = SCENES[documents]
    assert split == "train"
    kinds = {m.kind for seed in SEEDS[documents][:12] for m in make(seed, split).moments}
    assert kinds - {"slip"} == expected
