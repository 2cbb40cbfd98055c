"""A recorded session replays to the last row, whoever else was there."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from conftest import make_config, make_model, make_tokenizers
from test_session import _inputs, _lively

from quintet.config import STEP_SAMPLES, OmniConfig, UserError
from quintet.live.engine import Engine, Given
from quintet.live.pretrained import Quintet
from quintet.live.recording import Recording, replay
from quintet.live.sampling import Sampling
from quintet.model.omni import Omni
from quintet.serve.recorder import Recorder, RecordingEngine
from quintet.tokenizers.bundle import Tokenizers

STEPS = 24


def _said(seed: int) -> list[Given]:
    """Loud from the first step to the last, so that every answer is spoken into; as 16 bits, as
    clients send it, or finer, and beyond the range that is heard."""
    rng = np.random.default_rng(seed)
    heard: list[Given] = []
    for audio, image, text in _inputs(seed, STEPS):
        audio = np.float32(rng.choice([1, 12])) * audio
        if seed % 2:
            audio = (np.clip(audio, -1, 1) * 32_767).astype(np.int16).astype(np.float32) / 32_768
        heard.append((audio, image, text))
    return heard


def _record(engine: RecordingEngine) -> None:
    """Three people, of whom each sits out some steps, one begins anew and one leaves."""
    rng, said = np.random.default_rng(0), {index: _said(30 + index) for index in range(3)}
    seats = {engine.join(seed=100 + index): index for index in range(3)}
    step = 0
    while any(said.values()):
        given = {seat: said[index].pop(0) for seat, index in seats.items()
                 if said[index] and rng.random() < 0.8}  # fmt: skip
        engine.step(given)
        step += 1
        if step == 5:
            engine.tune(0, Sampling(1.5, 1.5, 1.5))
        if step == 10:
            engine.renew(1, seed=7)
        if step == 20:
            engine.leave(2)
            said[2].clear()


def _recordings(folder: Path) -> list[Recording]:
    return [Recording.load(path) for path in folder.iterdir()]


def test_a_recording_replays_to_the_last_row(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    _lively(model, tokenizers)
    recorder = Recorder(tmp_path / "deep" / "recordings")
    _record(RecordingEngine(Engine(model, tokenizers, 3), recorder, config))
    recorder.close()
    made = _recordings(recorder.folder)
    assert sorted((one.seed, one.ended) for one in made) == [
        (7, "shutdown"), (100, "shutdown"), (101, "left"), (102, "left"),
    ]  # fmt: skip
    assert {one.sound[0].dtype for one in made} == {np.dtype(np.int16), np.dtype(np.float32)}
    system = Quintet(model, tokenizers)
    for one in made:
        assert replay(one, system) is None
        assert one.pictures and one.texts
        assert sum(len(answer.text_image) for answer in one.answers) > 5
    assert sum(bool(answer.frames) for one in made for answer in one.answers) > 5


def test_sound_is_kept_exactly(config: OmniConfig, tmp_path: Path) -> None:
    """Also where 16 bits would nearly do: they hold -1, not 1."""
    recording = Recording(config, 0, Sampling())
    sounds = [np.full(STEP_SAMPLES, value, np.float32) for value in (-0.5, 1.0, -1.0, 1e-6, 1.5)]
    for sound in sounds:
        recording.add(sound, None, None, None)
    assert recording.sound[0].dtype == np.int16
    recording.save(tmp_path / "one")
    for made in (recording, Recording.load(tmp_path / "one")):
        for step, sound in enumerate(sounds):
            assert np.array_equal(made.input(step)[0], sound)


def test_the_first_difference_is_found(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    _lively(model, tokenizers)
    recorder = Recorder(tmp_path)
    _record(RecordingEngine(Engine(model, tokenizers, 3), recorder, config))
    recorder.close()
    system = Quintet(model, tokenizers)
    one = next(one for one in _recordings(tmp_path) if one.seed == 100)
    speaks = [step for step, answer in enumerate(one.answers) if answer.frames]
    frame = one.answers[speaks[-1]].frames[-1]
    at = len(one.answers[speaks[-1]].frames) - 1
    frame[0] = (frame[0] + 1) % config.audio.codebook_size
    found = replay(one, system)
    assert found and (found.step, found.stream, found.at) == (speaks[-1] + 1, "audio", at)
    assert found.recorded == tuple(frame) != found.replayed
    del one.answers[speaks[0]].frames[:]
    found = replay(one, system)
    assert found and (found.step, found.at, found.recorded) == (speaks[0] + 1, 0, None)
    one.seed += 1
    assert replay(one, system)


def test_another_temperature_is_part_of_a_recording(
    config: OmniConfig, model: Omni, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    _lively(model, tokenizers)
    recorder = Recorder(tmp_path)
    _record(RecordingEngine(Engine(model, tokenizers, 3), recorder, config))
    recorder.close()
    one = next(one for one in _recordings(tmp_path) if one.seed == 100)
    assert list(one.tuned.values()) == [Sampling(1.5, 1.5, 1.5)]
    one.tuned.clear()
    assert replay(one, Quintet(model, tokenizers))


@pytest.fixture
def one_engine(tmp_path: Path) -> RecordingEngine:
    config = make_config()
    engine = Engine(make_model(config), make_tokenizers(config), 1)
    return RecordingEngine(engine, Recorder(tmp_path, minutes=1), config)


def test_files_are_bounded_whole_and_for_their_owner_alone(
    one_engine: RecordingEngine, tmp_path: Path
) -> None:
    recorder, silence = one_engine.recorder, (np.zeros(STEP_SAMPLES, np.float32), None, None)
    recorder.max_steps = 4
    one_engine.join(seed=1)
    one_engine.step({0: silence})
    one_engine.renew(0, seed=2)  # nobody speaks for a single step
    for _ in range(6):
        one_engine.step({0: silence})
    assert not recorder._open
    one_engine.leave(0)
    recorder.close()
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = Recording.load(path)
    assert (made.seed, made.ended, len(made.sound)) == (2, "limit", 4)


def test_a_session_that_fails_is_recorded_up_to_there(
    one_engine: RecordingEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, refused = _inputs(1, 3), (np.zeros(3, np.float32), None, None)
    one_engine.join(seed=1)
    one_engine.step({0: inputs[0]})
    assert isinstance(one_engine.step({0: refused})[0], UserError)  # took nothing in
    one_engine.step({0: inputs[1]})
    engine = one_engine.engine
    assert isinstance(engine, Engine)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(engine.sessions[0], "output", fail)
    one_engine.step({0: inputs[2]})
    one_engine.recorder.close()
    (made,) = _recordings(tmp_path)
    assert made.ended == "failed" and len(made.answers) == 3
    np.testing.assert_array_equal(made.input(2)[0], inputs[2][0])
    assert replay(made, Quintet(engine.model, engine.tokenizers)) is None  # what is left of it


def test_a_step_in_which_the_model_failed_is_recorded_for_all_who_shared_it(
    model: Omni, tokenizers: Tokenizers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, inputs = Engine(model, tokenizers, seats=3), _inputs(1, 3)
    recording = RecordingEngine(engine, Recorder(tmp_path), model.config)
    for seed in range(3):
        recording.join(seed=seed)
    for one in inputs[:2]:
        recording.step(dict.fromkeys(range(3), one))

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_extend", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            recording.step(dict.fromkeys(range(2), inputs[2]))
    for seat in range(3):
        recording.leave(seat)
    recording.recorder.close()
    made = sorted(_recordings(tmp_path), key=lambda one: one.seed)
    assert [(one.ended, len(one.answers)) for one in made] == [
        ("failed", 3), ("failed", 3), ("left", 2)
    ]  # fmt: skip
    for one in made[:2]:
        np.testing.assert_allclose(one.input(2)[0], inputs[2][0], atol=1e-4)


def test_no_disk_and_no_recording_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(UserError, match="--record"):
        Recorder(tmp_path / "file")
    for name in ("file", "missing"):
        with pytest.raises(UserError):
            Recording.load(tmp_path / name)
