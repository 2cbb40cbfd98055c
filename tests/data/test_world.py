"""The synthetic world keeps its laws: determinism, timing, disjoint splits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_world

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, UserError
from quintet.data.world.grammar import (
    ABOUT_A_PICTURE,
    KINDS,
    NUMBERS,
    as_dashed_off,
    contradicted,
    request,
)
from quintet.data.world.pictures import canonical_picture, make_background, render_picture
from quintet.data.world.scene_files import labels, load_scene, save_scene
from quintet.data.world.scenes import Scene, answer_step, make_scene
from quintet.data.world.sights import make_sights
from quintet.data.world.things import BY_NAME, THINGS, with_article
from quintet.media.audio import read_audio
from quintet.media.images import read_image
from quintet.media.speech import ASSISTANT_VOICE, TEST_VOICES, TRAIN_THROATS, throat

NUM_SCENES = 40


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(seed, "train" if seed % 2 else "test") for seed in range(NUM_SCENES)]


def test_things_are_unique() -> None:
    assert len(THINGS) == len(BY_NAME) == len({thing.emoji for thing in THINGS}) == 64
    assert all(len(thing.emoji) == 1 and thing.name.isalpha() for thing in THINGS)


def test_articles() -> None:
    assert with_article("apple") == "an apple"
    assert with_article("cat") == "a cat"


@needs_world
@pytest.mark.parametrize("size", [48, 96])
@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_are_squares_and_deterministic(size: int, split: str) -> None:
    for thing in THINGS:
        seen = render_picture(thing, np.random.default_rng(3), split, size)
        again = render_picture(thing, np.random.default_rng(3), split, size)
        assert seen.shape == (size, size, 3)
        assert seen.dtype == np.uint8
        assert np.array_equal(seen, again)


@pytest.mark.parametrize("split", ["train", "test"])
def test_backgrounds_are_pale_and_dark_as_walls_and_screens_are(split: str) -> None:
    drawn = [make_background(np.random.default_rng(seed), split, 8) for seed in range(400)]
    plain = np.array([pixels[0, 0] for pixels, kind, _ in drawn if kind == "plain"])
    pale = (plain.min(-1) > 200) & (plain.min(-1) < 255)
    dark = plain.max(-1) < 55
    between = (plain.max(-1) > 100) & (plain.min(-1) < 155)
    assert all(0.08 < share.mean() < 0.7 for share in (pale, dark, between))


@needs_world
def test_drawings_differ_and_stand_on_white() -> None:
    drawings = [canonical_picture(thing) for thing in THINGS]
    assert len({drawing.tobytes() for drawing in drawings}) == 64
    for drawing in drawings:
        edges = np.concatenate([drawing[0], drawing[-1], drawing[:, 0], drawing[:, -1]])
        assert (edges == 255).all()


@pytest.mark.parametrize("kind", KINDS)
def test_requests_vary_and_answers_follow_from_them(kind: str) -> None:
    rng = np.random.default_rng(0)
    asked = [request(kind, rng) for _ in range(300)]
    assert len({one.text for one in asked}) >= 6
    assert all(bool(one.reply) == (kind != "chatter") for one in asked)
    assert all("{" not in one.text + one.reply for one in asked)
    if kind not in ABOUT_A_PICTURE:  # what is seen decides there, not what is said
        answers = {one.text: one.reply for one in asked}
        assert all(answers[one.text] == one.reply for one in asked)


def test_yes_is_answered_where_the_thing_is_the_one_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    asked = [request("check", rng) for _ in range(400)]
    told = [one.reply.split(", ", 1) for one in asked]
    for one, (answer, rest) in zip(asked, told, strict=True):
        assert one.thing is not None and rest == f"this is {with_article(one.thing.name)}."
        named = re.search(rf"\b{with_article(one.thing.name)}\b", one.text)
        assert (named is not None) == (answer == "Yes")
        other = {"Yes": "No", "No": "Yes"}[answer]
        assert contradicted(one.reply) == one.reply.replace(answer, other)
    assert 160 < sum(answer == "Yes" for answer, _ in told) < 240


def test_people_type_in_many_ways() -> None:
    rng = np.random.default_rng(0)
    typed = [as_dashed_off("count from one to seven.", rng) for _ in range(400)]
    assert {"count from one to seven.", "Count from one to seven", "count from 1 to 7.",
            "COUNT FROM ONE TO SEVEN.", "Count From One To Seven"} <= {*typed}  # fmt: skip
    plain = {text.lower().rstrip(".") for text in typed}
    assert plain == {"count from one to seven", "count from 1 to 7"}
    # What is no number by itself stays a word.
    assert not any(any(map(str.isdigit, as_dashed_off("no one weighs twenty-two stone.", rng)))
                   for _ in range(50))  # fmt: skip


@needs_world
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_scene_is_a_function_of_its_arguments(split: str) -> None:
    first, second = make_scene(5, split), make_scene(5, split)
    assert np.array_equal(first.microphone, second.microphone)
    assert (first.lines, first.typed) == (second.lines, second.typed)
    for one, other in zip(first.shown, second.shown, strict=True):
        assert np.array_equal(one.picture, other.picture)
    for reply, same in zip(first.replies, second.replies, strict=True):
        assert np.array_equal(reply.speech, same.speech)


@needs_world
def test_seeds_and_splits_give_different_scenes() -> None:
    heard = {make_scene(seed, split).microphone.tobytes()
             for seed in (1, 2) for split in ("train", "test")}  # fmt: skip
    assert len(heard) == 4


@needs_world
def test_answers_keep_the_clock(scenes: list[Scene]) -> None:
    replies = 0
    for scene in scenes:
        ends = {answer_step(line.end_sample): line.text for line in scene.lines}
        for step, line in zip(ends, scene.lines, strict=True):
            # A twelfth of a second at least is quiet first, and no step passes after it.
            assert 2_000 <= step * STEP_SAMPLES - line.end_sample < 2_000 + STEP_SAMPLES
        arrives = {typed.step + 1: typed.text for typed in scene.typed}
        for reply in scene.replies:
            asked = arrives if reply.typed else ends
            # Typed in capitals or not, with digits or words, with or without the last mark.
            plain = asked[reply.step].rstrip(".?").lower()
            for number, word in enumerate(NUMBERS, 1):
                plain = re.sub(rf"\b{number}\b", word, plain)
            assert plain == reply.request.rstrip(".?").lower()
            end = reply.step * STEP_SAMPLES + len(reply.speech)
            assert end <= scene.num_steps * STEP_SAMPLES
            replies += 1
    assert replies >= NUM_SCENES // 2


@needs_world
def test_a_session_is_given_the_scene_and_then_silence(scenes: list[Scene]) -> None:
    for scene in scenes:
        given = scene.given(3)
        assert len(given) == scene.num_steps + 3 == len(scene.given()) + 3
        sound = np.concatenate([heard for heard, _, _ in given])
        assert np.array_equal(sound[: len(scene.microphone)], scene.microphone)
        assert sound.dtype == np.float32 and not sound[len(scene.microphone) :].any()
        seen = {s: picture for s, (_, picture, _) in enumerate(given) if picture is not None}
        read = {s: text for s, (_, _, text) in enumerate(given) if text is not None}
        assert seen.keys() == {one.step for one in scene.shown}
        assert all(seen[one.step] is one.picture for one in scene.shown)
        assert read == {one.step: one.text for one in scene.typed}


@needs_world
def test_the_microphone_holds_the_scene(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.microphone.shape == (scene.num_steps * STEP_SAMPLES,)
        assert scene.microphone.dtype == np.float32
        assert np.abs(scene.microphone).max() <= 1
        assert all(line.end_sample <= len(scene.microphone) for line in scene.lines)
        steps = [typed.step for typed in scene.typed] + [shown.step for shown in scene.shown]
        assert all(step < scene.num_steps for step in steps)


@needs_world
def test_the_latest_picture_is_named(scenes: list[Scene]) -> None:
    named = 0
    for scene in scenes:
        for reply in scene.replies:
            if reply.kind in ABOUT_A_PICTURE:
                latest = [shown for shown in scene.shown if shown.step < reply.step][-1]
                assert reply.thing == latest.thing
                assert latest.thing.name in reply.text
                named += 1
            assert (reply.drawing is not None) == (reply.kind == "draw")
    assert named


@needs_world
def test_every_person_has_a_voice_of_the_split(scenes: list[Scene]) -> None:
    for scene in scenes:
        test = set(map(throat, TEST_VOICES))
        own = set(TRAIN_THROATS) if scene.split == "train" else test
        voices: dict[str, set[str]] = {"user": set(), "bystander": set()}
        for line in scene.lines:
            assert throat(line.voice.name) in own
            assert line.voice.name != ASSISTANT_VOICE.name
            voices[line.speaker].add(line.voice.name)
        assert len(voices["user"]) <= 1
        assert not voices["user"] & voices["bystander"]


@needs_world
@pytest.mark.parametrize("max_steps", [1, 8, 20, 40])
def test_a_scene_ends_in_time(max_steps: int) -> None:
    for seed in range(12):
        scene = make_scene(seed, "train", max_steps=max_steps)
        assert 1 <= scene.num_steps <= max_steps


@needs_world
def test_kinds_can_be_chosen() -> None:
    for seed in range(5):
        assert {reply.kind for reply in make_scene(seed, "train", ("count",)).replies} == {"count"}
        quiet = make_scene(seed, "train", ())
        assert not quiet.lines and not quiet.replies and not quiet.typed


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UserError, match="choose train or test"):
        make_scene(0, "valid")
    with pytest.raises(UserError, match="choose from"):
        make_scene(0, "train", ("sing",))
    with pytest.raises(UserError, match="seed of at least 0"):
        make_scene(-1, "train")


@needs_world
def test_a_saved_scene_holds_everything(tmp_path: Path) -> None:
    scene = make_scene(3, "train", ("draw", "name"))
    save_scene(scene, tmp_path / "scene")
    found = json.loads((tmp_path / "scene" / "scene.json").read_text(encoding="utf-8"))
    assert found["num_steps"] == scene.num_steps
    assert len(found["replies"]) == len(scene.replies)
    user = read_audio(tmp_path / "scene" / "user.wav")
    reply = read_audio(tmp_path / "scene" / "reply.wav")
    assert len(user) == len(reply) == scene.num_steps * STEP_SAMPLES
    assert np.abs(user - scene.microphone).max() < 1e-4
    first = scene.replies[0]
    start = first.step * STEP_SAMPLES
    assert not reply[:start].any()
    assert np.abs(reply[start : start + len(first.speech)] - first.speech).max() < 1e-4
    assert found["replies"][0]["seconds"] == pytest.approx(len(first.speech) / SAMPLE_RATE)
    files = [shown["picture"] for shown in found["shown"]]
    files += [said["drawing"] for said in found["replies"] if said["drawing"]]
    assert files
    for file in files:
        assert read_image(tmp_path / "scene" / file).size == (96, 96)


@needs_world
def test_a_saved_scene_comes_back(tmp_path: Path, scenes: list[Scene]) -> None:
    counted = make_sights(0, "train", ("how_many",))
    assert len({shown.look and shown.look.count for shown in counted.shown}) > 1
    for index, scene in enumerate([*scenes[:6], counted]):
        save_scene(scene, tmp_path / str(index))
        again = load_scene(tmp_path / str(index))
        assert (again.seed, again.split, again.num_steps) == (
            scene.seed, scene.split, scene.num_steps
        )  # fmt: skip
        assert (again.lines, again.typed) == (scene.lines, scene.typed)
        assert np.abs(again.microphone - scene.microphone).max() < 1e-4
        for one, other in zip(again.shown, scene.shown, strict=True):
            assert (one.step, one.thing, one.look) == (other.step, other.thing, other.look)
            assert np.array_equal(one.picture, other.picture)
        for one, other in zip(again.replies, scene.replies, strict=True):
            assert (one.step, one.text, one.thing, one.words) == (
                other.step, other.text, other.thing, other.words
            )  # fmt: skip
            assert np.abs(one.speech - other.speech).max() < 1e-4
        assert labels(again) == labels(scene)


@needs_world
def test_labels_from_before_things_were_counted_are_of_one(tmp_path: Path) -> None:
    save_scene(make_scene(3, "train", ("name",)), tmp_path)
    file = tmp_path / "scene.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"count"', '"unknown"'))
    assert {one.look and one.look.count for one in load_scene(tmp_path).shown} == {1}


@needs_world
def test_words_are_said_inside_their_lines(scenes: list[Scene]) -> None:
    for scene in scenes:
        for line in scene.lines:
            assert " ".join(word.text for word in line.words) == line.text
            times = [time for word in line.words for time in (word.start, word.end)]
            assert times == sorted(times)
            assert line.start_sample == times[0] and times[-1] <= line.end_sample
        for reply in scene.replies:
            assert " ".join(word.text for word in reply.words) == reply.text
            assert reply.words[-1].end <= len(reply.speech)


@needs_world
@pytest.mark.parametrize("damage", [
    '{"format": 1}', "[]", "{", '{"format": 2, "seed": 1}', '{"format": 2, "num_steps": "x"}',
])  # fmt: skip
def test_a_damaged_scene_is_refused(tmp_path: Path, damage: str) -> None:
    save_scene(make_scene(3, "train", ("name",)), tmp_path)
    (tmp_path / "scene.json").write_text(damage, encoding="utf-8")
    with pytest.raises(UserError, match="again"):
        load_scene(tmp_path)


@needs_world
def test_a_scene_names_no_picture_elsewhere(tmp_path: Path) -> None:
    save_scene(make_scene(3, "train", ("name",)), tmp_path / "scene")
    path = tmp_path / "scene" / "scene.json"
    (tmp_path / "secret.png").write_bytes((tmp_path / "scene" / "picture-0.png").read_bytes())
    text = path.read_text(encoding="utf-8").replace("picture-0.png", "../secret.png")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        load_scene(tmp_path / "scene")


@needs_world
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match="choose another folder"):
        save_scene(make_scene(0, "train", ()), tmp_path / "file")
