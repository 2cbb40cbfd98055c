"""Scenes and conversations in which the assistant has another's voice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_config, make_tokenizers, needs_world
from scene_digest import digest

from quintet.config import LEAST_SPEAKER_STEPS, MOST_SPEAKER_STEPS, STEP_SAMPLES, UserError
from quintet.data.documents import DocumentMaker, Material
from quintet.data.scene_rows import SceneEncoder
from quintet.data.world.encounters import make_encounter
from quintet.data.world.grammar import request
from quintet.data.world.scene_files import labels, load_scene, save_scene
from quintet.data.world.scenes import Scene, _in_own_voice, assistant_speech, make_scene
from quintet.data.world.script_text import parse
from quintet.data.world.seeds import SEEDS
from quintet.data.world.sets import make_in
from quintet.data.world.speakers import Speaker, draw_speaker, named_speaker
from quintet.data.world.staging import stage_script
from quintet.data.world.view import scene_data
from quintet.media.speech import (
    ASSISTANT_VOICE,
    SPEAKERS,
    TEST_VOICES,
    TRAIN_THROATS,
    random_voice,
    synthesize,
    throat,
)
from quintet.stages.documents import SCENES, make_spoken
from quintet.timeline.streams import Stream
from quintet.timeline.targets import NOT_ASKED

pytestmark = needs_world

SCRIPT = """title: Hello
user: Hello.
assistant: Hello, how are you?
"""


@pytest.fixture(scope="module")
def encoder() -> SceneEncoder:
    config = make_config()
    return SceneEncoder(config, make_tokenizers(config))


def _speaker(scene: Scene) -> Speaker:
    assert scene.speaker is not None
    return scene.speaker


def _is_heard_well(speaker: Speaker) -> None:
    assert speaker.sound.dtype == np.float32 and speaker.sound.any()
    assert 0 < len(speaker.sound) <= MOST_SPEAKER_STEPS * STEP_SAMPLES == 48_000
    assert len(speaker.sound) % STEP_SAMPLES == 0


@pytest.mark.parametrize("make", [make_scene, make_encounter])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_assistant_has_the_voice_of_nobody_present(
    make: Callable[..., Scene], split: str
) -> None:
    answers = 0
    for seed in range(6):
        scene = make(seed, split, other_speaker=True)
        speaker = _speaker(scene)
        _is_heard_well(speaker)
        present = {throat(line.voice.name) for line in scene.lines if line.voice}
        assert throat(speaker.voice.name) not in present | {throat(ASSISTANT_VOICE.name)}
        for reply in scene.replies:
            if len(reply.speech):  # else it is only written
                expected = assistant_speech(reply.text, speaker.voice)
                assert np.array_equal(reply.speech, expected)
                assert not np.array_equal(expected, assistant_speech(reply.text))
                answers += 1
    assert answers


@pytest.mark.parametrize("make", [make_scene, make_encounter])
def test_a_scene_with_a_speaker_is_a_function_of_its_arguments(
    make: Callable[..., Scene],
) -> None:
    """Besides, everything that happens up to the first answer is as without."""
    one, other = (make(8, "train", other_speaker=True) for _ in range(2))
    assert digest(one) == digest(other) and _speaker(one).voice == _speaker(other).voice
    assert np.array_equal(_speaker(one).sound, _speaker(other).sound)
    plain = make(8, "train")
    assert plain.speaker is None
    assert digest(plain) == digest(make(8, "train", other_speaker=False)) != digest(one)
    assert plain.lines[:1] == one.lines[:1]


@pytest.mark.parametrize("split", ["train", "test"])
def test_speakers_of_a_split_have_a_name_or_a_throat_of_its_own(split: str) -> None:
    rng = np.random.default_rng(0)
    named, throats = 0, set[str]()
    for seed in range(40):
        present = [random_voice(rng, split) for _ in range(2)]
        speaker = draw_speaker(seed, split, present)
        _is_heard_well(speaker)
        own = throat(speaker.voice.name)
        assert own not in map(throat, (voice.name for voice in present))
        if speaker.voice in SPEAKERS.values():
            named += 1
        elif split == "test":
            assert own in map(throat, TEST_VOICES) and own not in TRAIN_THROATS
        else:
            assert own in TRAIN_THROATS
        throats.add(own)
    assert 10 < named < 30 and len(throats) > 8


def test_a_named_speaker_always_sounds_the_same() -> None:
    assert throat(ASSISTANT_VOICE.name) not in {throat(v.name) for v in SPEAKERS.values()}
    heard = [named_speaker(name) for name in SPEAKERS]
    assert len({speaker.sound.tobytes() for speaker in heard}) == len(SPEAKERS)
    for name, speaker in zip(SPEAKERS, heard, strict=True):
        _is_heard_well(speaker)
        assert np.array_equal(speaker.sound, named_speaker(name).sound)


def test_rows_of_a_scene_with_a_speaker_are_those_of_the_scene_behind_a_prompt(
    encoder: SceneEncoder,
) -> None:
    scene = make_scene(2, "train", ("say",), other_speaker=True)
    sample, plain = encoder.sample(scene), encoder.sample(replace(scene, speaker=None))
    prompt = sample.rows.step < 0
    codes = encoder.tokenizers.encode_audio(_speaker(scene).sound)
    assert np.array_equal(sample.rows.tokens[prompt], codes)
    assert (sample.rows.stream[prompt] == Stream.AUDIO_IN).all()
    rest = sample.rows.take(~prompt)
    for column in ("stream", "modality", "tokens", "position", "step"):
        assert np.array_equal(getattr(rest, column), getattr(plain.rows, column))
    assert (sample.text_target[prompt] == NOT_ASKED).all()
    assert np.array_equal(sample.text_target[~prompt], plain.text_target)
    assert np.array_equal(sample.audio_target[~prompt], plain.audio_target)


def test_conversations_are_answered_in_the_voice_that_was_heard(encoder: SceneEncoder) -> None:
    config, tokenizers = encoder.config, encoder.tokenizers
    maker, speaker = DocumentMaker(config, tokenizers, Material({}, {})), named_speaker("linda")
    rng = np.random.default_rng(0)
    said = request("say", rng)
    sample = maker.answered(maker.question(said, rng, speaker), said, speaker)
    rows = sample.rows
    prompt = rows.step < 0
    assert np.array_equal(rows.tokens[prompt], tokenizers.encode_audio(speaker.sound))
    assert (sample.text_target[prompt] == NOT_ASKED).all()
    speech = assistant_speech(said.reply, speaker.voice)
    padded = np.pad(speech, (0, -len(speech) % STEP_SAMPLES))
    spoken = rows.tokens[rows.stream == Stream.AUDIO_OUT]
    assert np.array_equal(spoken, tokenizers.encode_audio(padded))
    own = maker.answered(maker.question(said, rng), said)
    assert (own.rows.step >= 0).all()
    assert not np.array_equal(own.rows.tokens[own.rows.stream == Stream.AUDIO_OUT], spoken)


def test_only_the_own_voice_is_kept(encoder: SceneEncoder) -> None:
    """A process makes thousands of scenes, each in a voice of its own."""
    maker = DocumentMaker(encoder.config, encoder.tokenizers, Material({}, {}))
    _in_own_voice.cache_clear()
    for voice in (ASSISTANT_VOICE, SPEAKERS["linda"], ASSISTANT_VOICE, SPEAKERS["adam"]):
        assert np.array_equal(assistant_speech("Moon.", voice), synthesize("Moon.", voice))
        codes = maker._answer_codes("Moon.", voice)
        assert (codes is maker._answers["Moon."]) == (voice == ASSISTANT_VOICE)
    assert _in_own_voice.cache_info().currsize == len(maker._answers) == 1


def test_documents_of_speakers_are_short_and_long_scenes_by_turns() -> None:
    assert SCENES["speakers"] == (make_spoken, "train")
    for number, make in ((2, make_scene), (3, make_encounter)):
        # Of a seed that no scene in the assistant's own voice has.
        seed = SEEDS["speakers"][number]
        scene = make(seed, "test", other_speaker=True)
        assert digest(make_spoken(seed, "test")) == digest(scene)


def test_of_speakers_any_line_is_heard_for_one_to_two_seconds() -> None:
    sounds = [draw_speaker(seed, "train", ()).sound for seed in range(60)]
    lengths = {len(sound) // STEP_SAMPLES for sound in sounds}
    assert lengths == set(range(LEAST_SPEAKER_STEPS, MOST_SPEAKER_STEPS + 1))


def test_a_saved_scene_keeps_its_speaker(tmp_path: Path) -> None:
    scene = make_scene(3, "train", ("say",), other_speaker=True)
    save_scene(scene, tmp_path / "one")
    again = load_scene(tmp_path / "one")
    assert labels(again) == labels(scene) and _speaker(again).voice == _speaker(scene).voice
    assert np.abs(_speaker(again).sound - _speaker(scene).sound).max() < 1e-4
    plain = replace(scene, speaker=None)
    save_scene(plain, tmp_path / "plain")
    assert "speaker" not in labels(plain) and not (tmp_path / "plain" / "speaker.wav").exists()
    assert load_scene(tmp_path / "plain").speaker is None


@pytest.mark.parametrize("damage", ["missing", "label", "length"])
def test_a_damaged_speaker_is_told(tmp_path: Path, damage: str) -> None:
    scene = make_scene(3, "train", (), other_speaker=True)
    if damage == "length":
        scene = replace(scene, speaker=replace(_speaker(scene), sound=np.zeros(5, np.float32)))
    save_scene(scene, tmp_path)
    if damage == "missing":
        (tmp_path / "speaker.wav").unlink()
    if damage == "label":
        found = json.loads((tmp_path / "scene.json").read_text(encoding="utf-8"))
        (tmp_path / "scene.json").write_text(json.dumps(found | {"speaker": {"colour": 1}}))
    with pytest.raises(UserError) as told:
        load_scene(tmp_path)
    assert str(told.value).endswith(".") and "\n" not in str(told.value)


def test_the_page_shows_the_clock_and_tells_whose_voice_it_is(encoder: SceneEncoder) -> None:
    scene = make_scene(2, "train", ("say",), other_speaker=True)
    data, plain = scene_data(scene, encoder), scene_data(replace(scene, speaker=None), encoder)
    assert min(data["rows"]["step"]) >= 0 and min(data["rows"]["start"]) >= 0
    told = data.pop("speaker")
    assert told["voice"] == _speaker(scene).voice.name
    assert told["sound"].startswith("data:audio/flac;base64,")
    assert plain.pop("speaker") is None and data == plain


def test_a_set_with_speakers_goes_on_and_is_no_other_set(tmp_path: Path) -> None:
    assert make_in(tmp_path, 0, 7, "test", speakers=True)
    assert not make_in(tmp_path, 0, 7, "test", speakers=True)
    with pytest.raises(UserError, match="name another folder"):
        make_in(tmp_path, 0, 7, "test")
    assert load_scene(tmp_path / "scene-0000").speaker is not None


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_wide_world_has_speakers_too(split: str) -> None:
    scene, again = (stage_script(parse(SCRIPT), 5, split, other_speaker=True) for _ in range(2))
    speaker = _speaker(scene)
    assert digest(scene) == digest(again) and speaker.voice == _speaker(again).voice
    (reply,) = scene.replies
    assert np.array_equal(reply.speech, assistant_speech(reply.text, speaker.voice))
    plain = stage_script(parse(SCRIPT), 5, split)
    assert plain.speaker is None and plain.lines == scene.lines
    assert np.array_equal(plain.replies[0].speech, assistant_speech(reply.text))
    with pytest.raises(UserError, match="espeak-ng"):
        stage_script(parse(SCRIPT), 5, split, voices=tuple("abcde"), other_speaker=True)
