"""Sessions that answer in another's voice, and where the voice comes from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_tokenizers, needs_world
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from test_engine import _alike
from test_session import HOT, _inputs, _lively, _same
from torch import Tensor

import quintet
from quintet.config import (
    MOST_SPEAKER_STEPS,
    SAMPLE_RATE,
    STEP_SAMPLES,
    ModelConfig,
    OmniConfig,
    UserError,
)
from quintet.live.engine import Engine
from quintet.live.pretrained import Quintet
from quintet.live.recording import Recording, replay
from quintet.live.sampling import Sampling
from quintet.live.session import Session, StepOutput
from quintet.live.speakers import (
    LARGEST_FILE,
    load_voices,
    save_voices,
    speaker_codes,
    speaker_sound,
)
from quintet.live.turns import TurnReply, _Conversation
from quintet.media.audio import write_audio
from quintet.media.speech import SPEAKERS
from quintet.model.omni import Omni
from quintet.stages import release
from quintet.tokenizers.bundle import Tokenizers

ODD_KIND = b'{"linda":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'  # numpy has none
SILENCE = np.zeros(STEP_SAMPLES, np.float32)


def _codes(config: OmniConfig, seed: int = 0, steps: int = 2) -> np.ndarray:
    size = (config.audio.frames_before(steps), config.audio.num_codebooks)
    rng = np.random.default_rng(seed)
    return rng.integers(config.audio.codebook_size, size=size).astype(np.int32)


def _turned(sizes: ModelConfig) -> ModelConfig:
    """As nano: keys are turned, and nothing is concatenated."""
    return replace(sizes, d_position=0, d_time=0, rotary=True)


@pytest.fixture(params=["concatenated", "turned"])
def kind(request: pytest.FixtureRequest) -> OmniConfig:
    config = make_config(window_steps=4)
    if request.param == "turned":
        return replace(config, model=_turned(config.model))
    return replace(config, model=replace(config.model, rotary=False))


@pytest.fixture(scope="module")
def system() -> Quintet:
    config = make_config()
    voices = {name: _codes(config, seed) for seed, name in enumerate(("linda", "adam"))}
    return Quintet(make_model(config), make_tokenizers(config), "a card", voices)


def _tone(seconds: float, before: float = 0.0) -> np.ndarray:
    """Loud and soft by turns, as speech is, after silence."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = 0.2 * np.sin(2 * np.pi * 220 * time) * (1 + np.sin(2 * np.pi * 6 * time)) / 2
    return np.pad(sound, (int(before * SAMPLE_RATE), 2_400)).astype(np.float32)


def test_a_voice_stays_for_hours_in_constant_memory(kind: OmniConfig) -> None:
    model, tokenizers = make_model(kind), make_tokenizers(kind)
    codes = _codes(kind)
    session = Session(model, tokenizers, HOT, seed=6, speaker=codes)
    cache = session.decoder.cache
    storage, slots = cache.keys.data_ptr(), set()
    assert cache.held().tolist() == [-2] * 3 + [-1] * 3
    most = len(codes) + 4 * (3 + 3 + kind.live.text_image_rows_per_step)
    for step in range(120):
        if step == 60:  # an hour later
            session.now, cache.count[:] = session.now + 14_400, cache.count + 400_000
        session.step(SILENCE)
        held = cache.held()
        assert held[: len(codes)].tolist() == [-2] * 3 + [-1] * 3
        assert (held[len(codes) :] >= max(0, session.now - 3)).all()
        assert len(held) <= most
        slots.add(cache.seen)
    assert max(slots) <= most and cache.keys.data_ptr() == storage
    assert (cache.prompt is not None) == kind.model.rotary
    assert cache.keys.isfinite().all()


def test_another_voice_gives_another_answer(kind: OmniConfig) -> None:
    model, tokenizers = make_model(kind), make_tokenizers(kind)
    _lively(model, tokenizers)
    sessions = [
        Session(model, tokenizers, HOT, 3, speaker=speaker)
        for speaker in (_codes(kind, 0), _codes(kind, 0), _codes(kind, 1), None)
    ]
    made = [[session.step(*one) for one in _inputs(2, 8)] for session in sessions]
    same = [all(map(_same, made[0], other)) for other in made[1:]]
    assert same == [True, False, False]


def test_seats_with_voices_equal_sessions_alone(kind: OmniConfig) -> None:
    """Also whoever sits down after somebody with a voice: with another one, or with none."""
    model, tokenizers = make_model(kind), make_tokenizers(kind)
    _lively(model, tokenizers)
    engine, voices = Engine(model, tokenizers, seats=2), [_codes(kind, 0), None, _codes(kind, 1, 3)]
    alone = [Session(model, tokenizers, HOT, n, speaker=v) for n, v in enumerate(voices)]
    assert [engine.join(HOT, n, voices[n]) for n in (0, 1)] == [0, 1]
    inputs = _inputs(8, 18)
    for one in inputs[:9]:
        made = engine.step({0: one, 1: one})
        _alike(made[0], alone[0].step(*one))
        _alike(made[1], alone[1].step(*one))
    engine.renew(0, HOT, 1)  # nobody's voice after somebody's
    engine.leave(1)
    assert engine.join(HOT, 2, voices[2]) == 1
    assert not engine.sessions[0].decoder.cache.length
    assert engine.sessions[0].decoder.cache.prompt is None
    fresh = Session(model, tokenizers, HOT, 1)
    for one in inputs[9:]:
        made = engine.step({0: one, 1: one})
        _alike(made[0], fresh.step(*one))
        _alike(made[1], alone[2].step(*one))


def test_a_voice_without_room_is_told_and_takes_no_seat(
    model: Omni, tokenizers: Tokenizers
) -> None:
    config = model.config
    model.config = replace(
        config, live=replace(config.live, max_rows=config.rows_of_fullest_step + 5)
    )
    with pytest.raises(UserError, match="max_rows"):
        Session(model, tokenizers, speaker=_codes(config))
    engine = Engine(model, tokenizers, seats=1)
    with pytest.raises(UserError, match="max_rows"):
        engine.join(speaker=_codes(config))
    assert engine.join() == 0
    with pytest.raises(UserError, match="max_rows"):
        engine.renew(0, speaker=_codes(config))
    assert isinstance(engine.step({0: (SILENCE, None, None)})[0], StepOutput)  # it goes on


def _version(path: Path) -> str:
    with safe_open(path, "np") as file:
        return str(json.loads(file.metadata()["format_version"]))


def test_a_recording_keeps_the_voice(kind: OmniConfig, tmp_path: Path) -> None:
    model, tokenizers = make_model(kind), make_tokenizers(kind)
    _lively(model, tokenizers)
    codes, sampling = _codes(kind), Sampling()
    session = Session(model, tokenizers, sampling, 5, speaker=codes)
    recording = Recording(kind, 5, sampling, speaker=codes)
    for one in _inputs(9, 12):
        recording.add(*one, session.step(*one).answer)
    recording.ended = "left"
    recording.save(tmp_path / "one")
    again = Recording.load(tmp_path / "one")
    assert again.speaker is not None and np.array_equal(again.speaker, codes)
    system = Quintet(model, tokenizers)
    assert replay(again, system) is None
    again.speaker = None
    assert replay(again, system)  # the voice mattered
    again.save(tmp_path / "own")
    assert [_version(tmp_path / name) for name in ("one", "own")] == ["2", "1"]
    assert Recording.load(tmp_path / "own").speaker is None
    for wrong in (codes + 100, codes[:, :1], codes[0], np.zeros((0, 3), np.int32)):
        recording.speaker = wrong
        recording.save(tmp_path / "wrong")
        with pytest.raises(UserError):
            Recording.load(tmp_path / "wrong")


def test_what_is_heard_of_a_voice_begins_with_its_first_word() -> None:
    longest = MOST_SPEAKER_STEPS * STEP_SAMPLES
    heard = speaker_sound(_tone(3, before=2))
    assert len(heard) == longest and heard.dtype == np.float32
    assert np.abs(heard).max() == pytest.approx(0.7)
    assert np.abs(heard[: STEP_SAMPLES // 2]).max() > 0.2
    short = speaker_sound(_tone(1.3))
    assert len(short) % STEP_SAMPLES == 0 and len(short) < longest
    for sound in (np.zeros(0, np.float32), np.zeros(96_000, np.float32), _tone(0.4)):
        with pytest.raises(UserError, match="at least a second"):
            speaker_sound(sound)


def test_pauses_are_no_part_of_a_voice() -> None:
    cough = _tone(0.2)
    with pytest.raises(UserError, match="at least a second of speech"):
        speaker_sound(np.concatenate([cough, _tone(0.2, before=3)]))
    heard = speaker_sound(np.concatenate([cough, _tone(3, before=3)]))
    assert len(heard) == MOST_SPEAKER_STEPS * STEP_SAMPLES
    loudest = np.abs(heard.reshape(MOST_SPEAKER_STEPS, -1)).max(1)
    assert loudest.min() > 0.2  # in every step somebody speaks


def test_a_voice_is_a_name_a_recording_or_a_sound(system: Quintet, tmp_path: Path) -> None:
    assert system.speaker(None) is None
    named = system.speaker("linda")
    assert named is not None and np.array_equal(named, system.voices["linda"])
    sound = _tone(1.5)
    write_audio(tmp_path / "me.wav", sound)
    codes = system.speaker(sound)
    assert codes is not None and codes.shape == (3 * 7, 3)  # 1.5 s, and its edges
    for path in (tmp_path / "me.wav", str(tmp_path / "me.wav")):
        read = system.speaker(path)
        assert read is not None and read.shape == codes.shape
    (tmp_path / "no.wav").write_bytes(b"no sound")
    for path in (Path("linda"), Path("quintet")):  # of files, whatever voices there are
        with pytest.raises(UserError):
            system.speaker(path)
    wrong: tuple[Any, ...] = (
        "nobody", tmp_path / "missing.wav", tmp_path, "x" * 5_000, "\0", "",
        tmp_path / "no.wav", np.zeros((5, 2), np.float32), np.zeros(48_000, np.int16),
    )  # fmt: skip
    for voice in wrong:
        with pytest.raises(UserError) as told:
            system.speaker(voice)
        assert str(told.value).endswith(".") and "\n" not in str(told.value)
    with pytest.raises(UserError, match="no voice 'nobody'; name one of: quintet, adam, linda, "):
        system.speaker("nobody")
    with pytest.raises(UserError, match="one of: quintet, or a recording"):
        speaker_codes("nobody", {}, system.tokenizers)
    for path in ("me.flac", "voices/me", Path("me")):
        with pytest.raises(UserError, match=r"There is no file '.*me.*one of: quintet, adam"):
            system.speaker(path)


def test_codes_of_a_voice_are_a_voice(system: Quintet) -> None:
    codes = system.speaker(_tone(1.5))
    assert codes is not None and system.speaker(codes) is codes
    with pytest.raises(UserError):  # of another model
        system.speaker(codes + system.config.audio.codebook_size)


def test_talk_and_chat_take_a_voice(system: Quintet, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[list[int], Tensor]] = []  # steps held when the answer begins, and its tip

    def answer(conversation: _Conversation, **more: object) -> TurnReply:
        decoder = conversation.decoder
        assert decoder.hidden_1D is not None
        begun.append((decoder.cache.held().tolist(), decoder.hidden_1D))
        return TurnReply("said", [], SILENCE)

    monkeypatch.setattr(_Conversation, "answer", answer)
    for voice in ("linda", "adam", None):
        system.chat([{"role": "user", "content": "hello."}], voice=voice)
    words = begun[2][0]
    assert set(words) == {0} and begun[0][0] == begun[1][0] == [-2] * 3 + [-1] * 3 + words
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(begun[one][1], begun[other][1], atol=1e-2)

    made = [system.talk(SILENCE, seed=1, voice=voice) for voice in ("linda", "adam")]
    assert len({reply.audio.tobytes() + reply.text.encode() for reply in made}) == 2
    with system.session(voice="linda") as session:
        assert (session.decoder.cache.held() < 0).all() and session.decoder.cache.length == 6


def test_voices_are_part_of_a_folder(system: Quintet, tmp_path: Path) -> None:
    system.save_pretrained(tmp_path / "model")
    again = quintet.load(tmp_path / "model")
    assert list(again.voices) == ["adam", "linda"]
    assert all(np.array_equal(again.voices[n], system.voices[n]) for n in system.voices)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "model").glob("*.safetensors")}
    assert modes == {0o644}
    for folder in (tmp_path / "plain", tmp_path / "model"):  # also over one that has some
        Quintet(system.model, system.tokenizers).save_pretrained(folder)
        assert not (folder / "voices.safetensors").exists()
        assert quintet.load(folder).voices == {}


@pytest.mark.parametrize("wrong", [
    np.zeros((6, 4), np.int32), np.full((6, 3), 16, np.int32), np.full((6, 3), -1, np.int32),
    np.zeros((6, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((25, 3), np.int32),
    np.zeros(6, np.int32),
], ids=["codebooks", "codes", "below", "kind", "nothing", "long", "flat"])  # fmt: skip
def test_voices_of_another_model_are_told(wrong: np.ndarray, tmp_path: Path) -> None:
    path, config = tmp_path / "voices.safetensors", make_config()
    with pytest.raises(UserError, match="another model"):
        save_voices({"linda": wrong}, path, config)
    assert not list(tmp_path.iterdir())
    save_file({"linda": wrong}, path)
    with pytest.raises(UserError, match="another model"):
        load_voices(path, config)


def test_a_voice_without_room_is_told_before_anybody_can_choose_it(
    system: Quintet, tmp_path: Path
) -> None:
    codes, config = system.voices["linda"], system.config
    most = config.rows_of_fullest_step + len(codes)
    small, fits = (replace(config, live=replace(config.live, max_rows=n)) for n in (most - 1, most))
    path = tmp_path / "voices.safetensors"
    with pytest.raises(UserError, match=f"'linda' .* needs max_rows = {most} .* raise it, or"):
        save_voices({"linda": codes}, path, small)
    assert not list(tmp_path.iterdir())
    save_voices({"linda": codes}, path, fits)
    assert Session(Omni(fits), system.tokenizers, speaker=load_voices(path, fits)["linda"])
    with pytest.raises(UserError, match=f"voices.safetensors does not fit: .*{most}.* delete it"):
        load_voices(path, small)


def test_voices_that_no_folder_can_hold_are_not_written(
    system: Quintet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, config, codes = tmp_path / "voices.safetensors", make_config(), _codes(make_config())
    for voices, told in (({"n" * 65: codes}, "too long"), ({"": codes}, "own voice"),
                         ({"quintet": codes}, "own voice"),
                         ({str(n): codes for n in range(257)}, "256 voices")):  # fmt: skip
        with pytest.raises(UserError, match=told):
            save_voices(voices, path, config)
        with pytest.raises(UserError, match=told):
            Quintet(system.model, system.tokenizers, voices=voices).save_pretrained(tmp_path)
    monkeypatch.setattr("os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_voices({"n" * 64: codes}, path, config)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_of_voices_is_told(tmp_path: Path) -> None:
    path, config = tmp_path / "voices.safetensors", make_config()
    assert load_voices(path, config) == {}
    for name, reason in (("n" * 65, "too long"), ("quintet", "own voice")):
        save_file({name: np.zeros((6, 3), np.int32)}, path)
        with pytest.raises(UserError, match=f"does not fit: .*{reason}"):
            load_voices(path, config)
    size = bytes([len(ODD_KIND), *[0] * 7])
    large = path.read_bytes().ljust(LARGEST_FILE + 1)
    for content in (b"", b"nonsense", path.read_bytes()[:-5], size + ODD_KIND + b"12", large):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            load_voices(path, config)


@needs_world
@pytest.mark.parametrize("speakers", [True, False])
def test_a_release_ships_its_speakers(
    speakers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    system = Quintet(make_model(config), make_tokenizers(config))
    monkeypatch.setattr(release, "assemble", lambda *parts: system)
    context: Any = SimpleNamespace(
        made_by=lambda *names: tmp_path, preset=config, settings={"speakers": speakers},
        run_folder=tmp_path, folder=tmp_path / "release", name="release", tokenizers=None,
    )  # fmt: skip
    release.run(context)
    folder = tmp_path / "release" / "model"
    if not speakers:
        assert not (folder / "voices.safetensors").exists()
        return
    found = load_file(folder / "voices.safetensors")
    assert found.keys() == SPEAKERS.keys()
    assert len({codes.tobytes() for codes in found.values()}) == len(SPEAKERS)
    assert torch.equal(
        torch.from_numpy(found["linda"]), torch.from_numpy(quintet.load(folder).voices["linda"])
    )
