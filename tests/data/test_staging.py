"""Scripts on the clock: answers in time, interruptions heard, silences kept."""

from pathlib import Path

import numpy as np
import pytest
from conftest import make_config, make_tokenizers, needs_world
from scene_digest import digest

from quintet.config import STEP_SAMPLES, UserError
from quintet.data.scene_rows import SceneEncoder
from quintet.data.world.room import Room, draw_room
from quintet.data.world.scene_files import labels, load_scene, read_labels, save_scene
from quintet.data.world.scenes import Scene, answer_step, make_scene
from quintet.data.world.script import Script
from quintet.data.world.script_text import parse
from quintet.data.world.sets import make_in, make_wide_in
from quintet.data.world.staging import stage_script
from quintet.data.world.statistics import collect
from quintet.data.world.writers import INTENTS, GrammarWriter
from quintet.media.speech import ASSISTANT_VOICE, TEST_VOICES, random_voice, throat
from quintet.timeline.streams import Modality, Stream

COUNTED = "One, two, three, four, five, six, seven, eight, nine, ten."


def _stage(text: str, seed: int = 0, split: str = "train") -> Scene:
    return stage_script(parse(text), seed, split)


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    """One of every intent, by turns of both splits."""
    made = {}
    for index, (name, intent) in enumerate(INTENTS.items()):
        script = Script(name, tuple(intent(np.random.default_rng(index))))
        split = "test" if index % 2 else "train"
        made[name] = stage_script(script, index, split, draw_room(index, split))
    return made


@needs_world
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_staged_scene_is_a_function_of_its_arguments(split: str) -> None:
    script = GrammarWriter().write(3)
    room = draw_room(3, split)
    one, other = (stage_script(script, 3, split, room) for _ in range(2))
    assert digest(one) == digest(other)
    assert labels(one) == labels(other)
    assert digest(stage_script(script, 4, split, room)) != digest(one)


@needs_world
def test_nothing_sounds_outside_a_scene_and_no_two_answers_at_once(scenes) -> None:
    for name, scene in scenes.items():
        assert scene.microphone.shape == (scene.num_steps * STEP_SAMPLES,), name
        assert scene.microphone.dtype == np.float32 and np.abs(scene.microphone).max() <= 1
        end = 0
        for reply in scene.replies:
            assert reply.step * STEP_SAMPLES >= end, name
            end = reply.step * STEP_SAMPLES + len(reply.speech)
            assert " ".join(word.text for word in reply.words) == reply.text or not len(
                reply.speech
            ) or reply.until_step  # fmt: skip
        assert end <= len(scene.microphone)
        assert all(line.end_sample <= len(scene.microphone) for line in scene.lines)
        assert all(seen.step < scene.num_steps for seen in scene.shown)
        assert [seen.step for seen in scene.shown] == sorted(seen.step for seen in scene.shown)


@needs_world
def test_where_silence_is_right_nothing_is_said(scenes) -> None:
    spans = 0
    for name, scene in scenes.items():
        for quiet in scene.quiet:
            assert 0 <= quiet.start_step < quiet.end_step <= scene.num_steps
            for reply in scene.replies:
                last = reply.step + -(-len(reply.speech) // STEP_SAMPLES)
                assert last <= quiet.start_step or reply.step >= quiet.end_step, name
            spans += 1
    assert spans >= 8


@needs_world
def test_answers_keep_the_clock() -> None:
    scene = _stage("user: Say cat.\nassistant: Cat.\nuser types: Say dog.\nassistant: Dog.\n"
                   "[pause 2]\n[show cow]\nassistant: A cow.")  # fmt: skip
    first, second, third = scene.replies
    assert first.step == answer_step(scene.lines[0].end_sample)
    assert (first.request, first.typed) == ("Say cat.", False)
    assert second.step == scene.typed[0].step + 1 and second.typed
    assert third.step == scene.shown[0].step + 1 and third.thing.name == "cow"
    pause = scene.shown[0].step * STEP_SAMPLES - second.step * STEP_SAMPLES - len(second.speech)
    assert pause >= 2 * 24_000


@needs_world
def test_an_interrupted_answer_ends_within_two_steps_and_a_backchannel_does_not_stop_it() -> None:
    text = f"user: Count.\nassistant: {COUNTED}\n[%s 1]\nuser: %s\n"
    cut = _stage(text % ("interrupt", "Stop."))
    (reply,), line = cut.replies, cut.lines[1]
    begun = line.start_sample / STEP_SAMPLES
    assert begun - reply.step == pytest.approx(4, abs=0.1)
    assert reply.until_step == int(begun) + 2
    assert len(reply.speech) == (reply.until_step - reply.step) * STEP_SAMPLES
    assert 1 <= len(reply.words) < 10 and reply.words[-1].end <= len(reply.speech)
    for said in ("Hello.", "No."):
        asked = _stage(text % ("interrupt", said) + "assistant: Hi.\n")
        end, due = asked.replies[0].until_step, answer_step(asked.lines[1].end_sample)
        assert end is not None and asked.replies[1].step == max(due, end + 1)
    assert due <= end  # then the text of the old answer may still end
    whole = _stage(text % ("overlap", "Mm-hm."))
    (reply,), line = whole.replies, whole.lines[1]
    end = reply.step * STEP_SAMPLES + len(reply.speech)
    assert reply.until_step is None and len(reply.words) == 10
    assert end - line.start_sample == 24_000


@needs_world
def test_what_is_waited_for_is_answered_when_it_comes_and_not_before() -> None:
    scene = _stage("user: Tell me when you see a cat.\nassistant: I will.\n[wait until cat]\n"
                   "[video dog, cow, cat for 6]\nassistant: A cat.")  # fmt: skip
    first = next(seen.step for seen in scene.shown if seen.thing.name == "cat")
    assert [reply.step for reply in scene.replies[1:]] == [first + 1]
    assert scene.num_steps >= scene.shown[0].step + 24
    scene = _stage("user: Wait until I say go.\nassistant: Yes.\n[wait until go]\nuser: Not yet."
                   "\n[silence 1]\nuser: Go!\nuser: I am here.\nassistant: One.")  # fmt: skip
    go = scene.lines[2]
    assert scene.replies[1].step == answer_step(go.end_sample)


@needs_world
def test_a_written_answer_has_no_sound_and_languages_have_their_voices() -> None:
    scene = _stage("user in German: Guten Morgen.\nassistant writes: Guten Morgen.\nother: Hi.")
    assert len(scene.replies[0].speech) == 0 and scene.replies[0].words == ()
    german, other = scene.lines
    assert german.voice.name.startswith("de+") and other.speaker == "bystander"
    assert german.voice.name.split("+")[1] != other.voice.name.split("+")[1]


def test_splits_share_no_voice() -> None:
    rng = np.random.default_rng(0)
    train = {throat(random_voice(rng, "train").name) for _ in range(2_000)}
    test = {throat(random_voice(rng, "test").name) for _ in range(200)}
    assert len(train) > 50 and len(test) == len(TEST_VOICES)
    assert not train & test
    assert ASSISTANT_VOICE.name.split("+")[1] not in train | test


@needs_world
def test_voices_of_another_engine_are_divided_and_their_words_estimated() -> None:
    class Tones:
        def say(self, text, voice, language="en-us"):
            times = np.arange(8_000 * len(text.split()))
            return (0.3 * np.sin(times * (1 + len(voice.name)) / 40)).astype(np.float32), ()

    names = ["own", *(f"voice{'x' * n}" for n in range(6))]
    script = parse("user: one two three\nother: four five\nassistant: six seven")
    used = {}
    for split in ("train", "test"):
        found = [stage_script(script, seed, split, None, Tones(), names) for seed in range(8)]
        used[split] = {line.voice.name for scene in found for line in scene.lines}
        for scene in found:
            for said in (*scene.lines, *scene.replies):
                assert [word.text for word in said.words] == said.text.split()
    assert len(used["train"]) == len(used["test"]) == 3 and not used["train"] & used["test"]
    with pytest.raises(UserError, match="five voices"):
        stage_script(script, 0, "train", None, Tones(), names[:3])


@needs_world
def test_a_staged_scene_comes_back_and_old_scenes_have_old_labels(tmp_path: Path, scenes) -> None:
    for name in ("stop", "tell me when", "draw", "meaning"):
        scene = scenes[name]
        save_scene(scene, tmp_path / name)
        again = load_scene(tmp_path / name)
        assert labels(again) == labels(scene)
        assert again.quiet == scene.quiet and again.room == scene.room
        assert parse(again.script).write() == scene.script
    assert not {"script", "room", "quiet"} & set(labels(make_scene(0, "train")))


@needs_world
def test_rows_of_staged_scenes() -> None:
    config = make_config()
    encoder = SceneEncoder(config, make_tokenizers(config))
    text = encoder.tokenizers.text
    scene = _stage(f"user: Count.\nassistant: {COUNTED}\n[interrupt 0.3]\nuser: Stop.\n"
                   "assistant writes: Yes.")  # fmt: skip
    rows = encoder.timeline(scene).rows()
    cut, written = scene.replies
    spoken = rows.step[rows.stream == Stream.AUDIO_OUT]
    assert set(spoken.tolist()) == set(range(cut.step, cut.until_step))
    own = (rows.stream == Stream.TEXT_OUT) & (rows.step < written.step)
    tokens = rows.tokens[own, 0].tolist()
    assert tokens.count(text.end_id) == 1 and tokens[-1] == text.end_id
    assert rows.step[own].max() <= cut.until_step
    assert (rows.modality[own] == Modality.TEXT).all()
    encoder.asked(rows)


def test_wrong_arguments_are_refused() -> None:
    script = parse("user: hi")
    with pytest.raises(UserError, match="split train or test"):
        stage_script(script, 0, "valid")
    with pytest.raises(UserError, match="write two scripts"):
        stage_script(parse("[silence 20]\n" * 7 + "[show cat]"), 0, "train", Room())


@needs_world
def test_a_set_of_the_wide_world_goes_on_and_is_no_other(tmp_path: Path) -> None:
    writer = GrammarWriter(("sum", "shown unasked"))
    assert make_wide_in(tmp_path, 0, 7, "test", writer, "grammar")
    first = (tmp_path / "scene-0000" / "user.wav").read_bytes()
    assert not make_wide_in(tmp_path, 0, 7, "test", writer, "grammar")
    with pytest.raises(UserError, match="name another folder"):
        make_in(tmp_path, 0, 7, "test")
    assert make_wide_in(tmp_path / "again", 0, 7, "test", writer, "grammar")
    assert (tmp_path / "again" / "scene-0000" / "user.wav").read_bytes() == first
    found = collect([read_labels(tmp_path / "scene-0000")])
    assert found["quiet_seconds"] >= 0 and found["interrupted"] == 0
    assert "quiet" not in collect([labels(make_scene(0, "train"))])
