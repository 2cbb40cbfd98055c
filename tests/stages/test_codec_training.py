"""The codec's stages: what they hear, what they keep, how they go on from one another."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import needs_world
from safetensors.torch import save_file
from torch import nn

from quintet import train
from quintet.config import UserError, load_preset
from quintet.data.world import speech_bank, tongues
from quintet.data.world.speech_bank import SpeechBank, microphone_noise
from quintet.media.audio import write_audio
from quintet.media.speech import TEST_VOICES
from quintet.stages import audio_tokenizer
from quintet.stages.audio_tokenizer import AudioTokenizerTask, CodecSettings
from quintet.stages.codec_losses import SoundLosses, show_sound
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.codec_folder import folded, load_codec
from quintet.train import TrainConfig
from quintet.train.average import average_of

AUDIO = load_preset("tiny").audio
SETTINGS = CodecSettings(fill_step=2, adversarial_step=4, clip_seconds=0.25)


def _bank(value: float | None = None) -> SpeechBank:
    if value is not None:
        return SpeechBank(np.full(40_000, value, np.float16))
    return SpeechBank(np.random.default_rng(0).uniform(-0.5, 0.5, 40_000).astype(np.float16))


def _task(settings: CodecSettings = SETTINGS, **more: object) -> AudioTokenizerTask:
    bank = _bank()
    return AudioTokenizerTask(AUDIO, settings, bank, bank, batch_size=6, seed=0, **more)


def test_it_hears_noise_and_learns_the_speech_without_it() -> None:
    task = _task()
    heard, clean = task.batch(3)
    noise = heard - clean
    assert heard.shape == clean.shape == (6, 6_000) and heard.abs().max() <= 1
    assert 0 < float(noise.std()) < 0.05 and (noise.std(1) > 0).all()
    again = task.batch(3)
    assert torch.equal(heard, again[0]) and torch.equal(clean, again[1])
    assert not torch.equal(heard, task.batch(4)[0])


def test_some_clips_use_fewer_codebooks() -> None:
    task = _task()
    books = torch.cat([task._books(step, 50) for step in range(20)])
    assert set(books.tolist()) == set(range(1, AUDIO.num_codebooks + 1))
    assert 0.8 < float((books == AUDIO.num_codebooks).float().mean()) < 0.95


def test_recordings_are_a_fifth_of_the_clips() -> None:
    task = _task(recordings=_bank(0.25))  # a constant: no deviation
    peaks = [float(clip.std()) for step in range(40) for clip in task.batch(step)[1]]
    assert 0.1 < np.mean(np.array(peaks) < 1e-6) < 0.3
    assert all((task._clips(step, 6, held_out=True)[1].std(1) > 1e-6).all() for step in range(40))


def test_a_folder_of_recordings_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write_audio(tmp_path / "a.wav", np.full(6_000, 0.5))
    write_audio(tmp_path / "deep" / "b.wav", np.full(3_000, -0.5))
    assert len(SpeechBank.from_recordings(tmp_path).samples) == 9_000
    with pytest.raises(UserError, match=r"nowhere holds no sound"):
        audio_tokenizer._recordings(str(tmp_path / "nowhere"), 0.1)
    assert audio_tokenizer._recordings(str(tmp_path), 0.1) is not None
    with pytest.raises(UserError, match="less than 2 s"):
        audio_tokenizer._recordings(str(tmp_path), 2.0)


def test_a_folder_without_recordings_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no sound"):
        SpeechBank.from_recordings(tmp_path)


def test_the_average_follows_and_soon_forgets_where_it_began() -> None:
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    average = average_of(module)
    start = module[0].weight.detach().clone()
    with torch.no_grad():
        module[0].weight.add_(1)
        module[1].running_mean.fill_(5)
    for _ in range(60):
        average.update_parameters(module)
    kept = average.module[0].weight
    torch.testing.assert_close(kept, start + 1, atol=1e-3, rtol=0)
    assert torch.equal(average.module[1].running_mean, module[1].running_mean)
    assert not any(p.requires_grad for p in average.parameters())


def test_a_stage_goes_on_from_the_codec_of_another(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = AudioTokenizer(AUDIO)
    save_file(folded(first).state_dict(), tmp_path / "audio_tokenizer.safetensors")
    settings = replace(SETTINGS, fill_step=-1)
    task = _task(settings, start_from=tmp_path / "audio_tokenizer.safetensors")
    module = task.module()
    task.before_step(module, 0)
    sound = torch.randn(1, 6_000)
    torch.testing.assert_close(module.codec(sound, False)[0], first(sound, False)[0])
    for mine, theirs in zip(module.codec.quantizer.layers, first.quantizer.layers, strict=True):
        assert torch.equal(mine.codebook, theirs.codebook)


def test_what_is_exported_is_a_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_tokenizer, "HELD_OUT_CLIPS", 8)
    config = TrainConfig(steps=6, batch_size=2, evaluate_every=100)
    settings = replace(SETTINGS, windows=(256,), channels=2)
    bank = _bank()
    task = AudioTokenizerTask(AUDIO, settings, bank, bank, config.batch_size, config.seed)
    scores = train.run(task, config, tmp_path, "codec")
    assert scores["eval/mel"] > 0
    codec = load_codec(tmp_path)
    codes, _ = codec.encode(torch.randn(1, 6_000))
    assert codes.shape == (1, 6_000 // AUDIO.hop, AUDIO.num_codebooks)
    names = {path.name for path in (tmp_path / "samples" / "000006").iterdir()}
    assert {"0.png", "0-original.wav", "0-decoded.wav"} <= names


def test_a_run_does_not_go_on_with_other_settings_of_the_codec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_tokenizer, "HELD_OUT_CLIPS", 8)
    monkeypatch.setattr(AudioTokenizerTask, "show", lambda self, module, folder: None)
    config, bank = TrainConfig(steps=3, batch_size=2), _bank()

    def train_with(settings: CodecSettings) -> None:
        task = AudioTokenizerTask(AUDIO, settings, bank, bank, config.batch_size, config.seed)
        train.run(task, config, tmp_path, "codec")

    train_with(SETTINGS)
    with pytest.raises(UserError, match="made with fill_step = 2 and the recipe now says 1"):
        train_with(replace(SETTINGS, fill_step=1))


def test_the_spectral_loss_minds_what_is_loud() -> None:
    losses = SoundLosses()
    loud, soft = 0.3 * torch.randn(1, 12_000), 1e-2 * torch.randn(1, 12_000)
    real = torch.cat([loud, soft], 1)
    wrong_loud = losses(torch.cat([loud * 0.7, soft], 1), real, False, 0)
    wrong_soft = losses(torch.cat([loud, soft * 0.7], 1), real, False, 0)
    assert float(wrong_loud["loudness"]) > 5 * float(wrong_soft["loudness"])
    assert float(wrong_loud["mel"]) < 2 * float(wrong_soft["mel"])


def test_samples_can_be_seen_and_heard(tmp_path: Path) -> None:
    sound = 0.1 * torch.randn(2, 12_000)
    show_sound(tmp_path / "new", sound, sound)
    assert len(list((tmp_path / "new").glob("*.wav"))) == 4
    assert all(path.stat().st_size > 5_000 for path in (tmp_path / "new").glob("*.png"))


def test_noise_is_of_every_level() -> None:
    rng = np.random.default_rng(0)
    levels = [float(microphone_noise(rng, 4_000).std()) for _ in range(60)]
    assert min(levels) < 1e-3 and 1e-2 < max(levels) < 0.05


def test_a_bank_is_the_same_again_and_whole_or_not_there(tmp_path: Path) -> None:
    def speaker(rng: np.random.Generator, split: str) -> np.ndarray:
        return rng.uniform(-0.5, 0.5, 100 + int(rng.integers(50))).astype(np.float32)

    banks = [SpeechBank.make(tmp_path / name, 9, 3, "train", speaker) for name in ("a", "b")]
    assert np.array_equal(banks[0].samples, banks[1].samples)

    def dying(rng: np.random.Generator, split: str) -> np.ndarray:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        SpeechBank.make(tmp_path / "c", 9, 3, "train", dying)
    assert not list((tmp_path / "c").iterdir())


def test_two_who_make_the_same_bank_at_once_do_not_meet(tmp_path: Path) -> None:
    """The second begins and ends while the first is at one of its lines."""
    once, second = threading.Lock(), []

    def speaker(rng: np.random.Generator, split: str) -> np.ndarray:
        return rng.uniform(-0.5, 0.5, 100 + int(rng.integers(50))).astype(np.float32)

    def slow(rng: np.random.Generator, split: str) -> np.ndarray:
        if once.acquire(blocking=False):
            second.append(SpeechBank.make(tmp_path / "a", 9, 3, "train", slow))
        return speaker(rng, split)

    first = SpeechBank.make(tmp_path / "a", 9, 3, "train", slow)
    alone = SpeechBank.make(tmp_path / "b", 9, 3, "train", speaker)
    assert np.array_equal(first.samples, alone.samples)
    assert np.array_equal(second[0].samples, alone.samples)
    assert len(list((tmp_path / "a").iterdir())) == 1


@needs_world
def test_every_voice_but_those_kept_for_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    voices = []

    def heard(text: str, voice: object) -> np.ndarray:
        voices.append(voice)
        return speech_bank.synthesize("hello", voice)

    monkeypatch.setattr(tongues, "synthesize", heard)
    lines = [tongues.any_line(np.random.default_rng(seed), "train") for seed in range(30)]
    assert all(np.abs(line).max() <= 1 and np.isfinite(line).all() for line in lines if len(line))
    kept = {voice.partition("+")[2] for voice in TEST_VOICES}
    spoken = [voice.name for voice in voices]
    assert len(set(spoken)) > 10 and not kept & {name.partition("+")[2] for name in spoken}
    assert len({name.partition("+")[0] for name in spoken}) > 5
