"""Recordings become scenes: cut where nobody speaks, nothing lost, words where they are said."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_config, make_tokenizers, needs_world, run
from spoken_recordings import conversation, write_story

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, UserError
from quintet.data.scene_rows import SceneEncoder
from quintet.data.world.recordings import LEAST_STEPS, MOST_STEPS, cut_recordings, recorded_scenes
from quintet.data.world.scene_files import load_scene, save_scene
from quintet.data.world.scenes import Scene
from quintet.media.audio import read_audio
from quintet.media.loudness import speech_spans
from quintet.timeline.streams import Stream


def _words_on_the_recordings_clock(scenes: list[Scene]) -> list[tuple[str, float]]:
    found, at = [], 0
    for scene in scenes:
        for line in scene.lines:
            assert line.text == " ".join(word.text for word in line.words)
            assert all(line.start_sample <= w.start <= w.end <= line.end_sample for w in line.words)
            found += [(w.text, (at + w.start) / SAMPLE_RATE) for w in line.words]
        at += scene.num_steps * STEP_SAMPLES
    return found


@needs_world
def test_a_reading_is_cut_between_words_and_keeps_its_text(tmp_path: Path) -> None:
    words = write_story(tmp_path, seed=1, sentences=16)
    scenes = list(recorded_scenes(tmp_path / "story.flac", "story.flac"))
    assert len(scenes) > 2
    assert all(LEAST_STEPS <= scene.num_steps <= MOST_STEPS for scene in scenes[:-1])
    heard, whole = (
        np.concatenate([scene.microphone for scene in scenes]), read_audio(tmp_path / "story.flac")
    )  # fmt: skip
    assert np.array_equal(heard[: len(whole)], whole)
    assert not heard[len(whole) :].any()
    cuts = np.cumsum([scene.num_steps for scene in scenes])[:-1] * STEP_SAMPLES
    assert not any(word.start < cut < word.end for cut in cuts for word in words)

    found = _words_on_the_recordings_clock(scenes)
    true = [(part, word.start / SAMPLE_RATE) for word in words for part in word.text.split()]
    assert [text for text, _ in found] == [text for text, _ in true]
    errors = [abs(one[1] - other[1]) for one, other in zip(found, true, strict=True)]
    assert np.median(errors) < 0.25 and max(errors) < 1.5  # seconds; a sentence takes three


@needs_world
@pytest.mark.parametrize("transcript", ["none", "lines", "words"])
def test_a_conversation_keeps_its_speakers_apart(tmp_path: Path, transcript: str) -> None:
    sound, lines = conversation(turns=8, seed=2)
    soundfile.write(tmp_path / "talk.wav", sound, SAMPLE_RATE, subtype="FLOAT")
    if transcript == "lines":
        lines = [{key: line[key] for key in line if key != "words"} for line in lines]
    if transcript != "none":
        (tmp_path / "talk.json").write_text(json.dumps({"lines": lines}), encoding="utf-8")
    scenes = list(recorded_scenes(tmp_path / "talk.wav", "talk.wav"))
    said = " ".join(line.text for scene in scenes for line in scene.lines).split()
    answered = " ".join(reply.text for scene in scenes for reply in scene.replies).split()
    for speaker, found in (("person", said), ("assistant", answered)):
        true = " ".join(line["text"] for line in lines if line["speaker"] == speaker).split()
        assert found == ([] if transcript == "none" else true)
    at = 0
    for scene in scenes:
        steps = [
            step for reply in scene.replies
            for step in range(reply.step, reply.step + -(-len(reply.speech) // STEP_SAMPLES))
        ]  # fmt: skip
        assert len(set(steps)) == len(steps), "two answers sound in one step"
        for reply in scene.replies:
            start = at + reply.step * STEP_SAMPLES
            assert np.allclose(reply.speech, sound[start : start + len(reply.speech), 1], atol=1e-6)
        at += scene.num_steps * STEP_SAMPLES
    assert sum(len(scene.replies) for scene in scenes) >= 4


@needs_world
def test_recorded_scenes_become_rows_and_come_back(tmp_path: Path) -> None:
    sound, lines = conversation(turns=4, seed=3)
    soundfile.write(tmp_path / "talk.wav", sound, SAMPLE_RATE)
    (tmp_path / "talk.json").write_text(json.dumps(lines), encoding="utf-8")
    config = make_config()
    encoder = SceneEncoder(config, make_tokenizers(config))
    for number, scene in enumerate(recorded_scenes(tmp_path / "talk.wav", "talk.wav")):
        save_scene(scene, tmp_path / str(number))
        again = load_scene(tmp_path / str(number))
        assert (again.lines, again.source, again.seed) == (scene.lines, scene.source, number)
        assert [r.words for r in again.replies] == [r.words for r in scene.replies]
        rows = encoder.sample(again).rows
        spoken = rows.step[rows.stream == Stream.AUDIO_OUT]
        assert np.bincount(spoken).max(initial=0) <= config.audio.frames_per_step
        assert (rows.stream == Stream.AUDIO_IN).sum() == 3 * scene.num_steps


@needs_world
def test_cutting_again_makes_only_what_is_missing(tmp_path: Path) -> None:
    write_story(tmp_path / "in" / "deep", seed=4, sentences=9)
    out = tmp_path / "out"
    count = cut_recordings(tmp_path / "in", out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    victim = out / "scene-0001"
    kept = (victim / "scene.json").read_bytes(), (victim / "user.wav").read_bytes()
    (victim / "scene.json").unlink()
    assert cut_recordings(tmp_path / "in", out) == count
    assert ((victim / "scene.json").read_bytes(), (victim / "user.wav").read_bytes()) == kept
    assert all(path.stat().st_mtime_ns == time for path, time in before.items()
               if path.parent != victim)  # fmt: skip
    write_story(tmp_path / "in" / "another", seed=5, sentences=9)
    with pytest.raises(UserError, match="name another folder with --out"):
        cut_recordings(tmp_path / "in", out)


@pytest.mark.parametrize("what, message", [
    ({"text": "word " * 4_000}, "belong to another recording"),
    ({"lines": [{"text": "hi", "start_seconds": 2, "end_seconds": 1}]}, "Line 1"),
    ({"lines": [{"text": "hi", "start_seconds": "nan", "end_seconds": 1}]}, "Line 1"),
    ({"lines": [{"text": "hi", "start_seconds": 0, "end_seconds": 1, "speaker": "bystander"}]},
     "Line 1"),
    ({"lines": [{"text": "hi", "start_seconds": 0, "end_seconds": 1, "words": [["hi", 0.5, 2]]}]},
     "Line 1"),
    ({"lines": "hello"}, "no list of lines"),
    ({"text": b"\xff\xfe"}, "UTF-8"),
])  # fmt: skip
def test_a_transcript_that_does_not_fit_is_refused(
    tmp_path: Path, what: dict, message: str
) -> None:
    tone = 0.3 * np.sin(np.arange(3 * SAMPLE_RATE) / 9)
    tone[SAMPLE_RATE : 2 * SAMPLE_RATE] = 0
    soundfile.write(tmp_path / "a.wav", tone, SAMPLE_RATE)
    if "text" in what:
        text = what["text"]
        (tmp_path / "a.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    else:
        (tmp_path / "a.json").write_text(json.dumps(what), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        list(recorded_scenes(tmp_path / "a.wav", "a.wav"))


def test_silence_and_noise_hold_no_speech() -> None:
    rng = np.random.default_rng(0)
    assert speech_spans(np.zeros(0, np.float32)) == []
    assert speech_spans(np.zeros(SAMPLE_RATE, np.float32)) == []
    noise = 0.02 * rng.standard_normal(5 * SAMPLE_RATE).astype(np.float32)
    assert speech_spans(noise) == []
    noise[SAMPLE_RATE : 2 * SAMPLE_RATE] *= 20
    ((start, end),) = speech_spans(noise)
    assert abs(start - SAMPLE_RATE) < 0.1 * SAMPLE_RATE
    assert abs(end - 2 * SAMPLE_RATE) < 0.1 * SAMPLE_RATE


@needs_world
def test_the_command_cuts_recordings(tmp_path: Path, model_folder: Path, capsys) -> None:
    write_story(tmp_path / "in", seed=6, sentences=7)
    assert run("world", "--from", tmp_path / "in", "--out", tmp_path / "out",
               "--model", model_folder) == 0  # fmt: skip
    assert (tmp_path / "out" / "scene-0001" / "view.html").exists()
    assert run("world", "--from", tmp_path / "out" / "nothing", "--out", tmp_path / "out") == 2
    assert "holds no recording" in capsys.readouterr().err


def test_what_means_nothing_is_refused(tmp_path: Path, capsys) -> None:
    """Also where it is what would have been taken anyway."""
    out = ("--out", tmp_path / "no")
    for given in (["--split", "train"], ["--writer", "grammar"], ["--speakers"], ["--scenes", 8]):
        assert run("world", "--from", tmp_path, *out, *given) == 2
        assert f"leave out {given[0]}, or --from." in capsys.readouterr().err
    assert run("world", *out, "--writer", "grammar") == 2
    assert "add --world wide" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
