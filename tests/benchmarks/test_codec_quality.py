"""The codec's quality benchmark: its scores, its peers and its rows; no figure is asserted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("pesq", reason="the extra quality is not installed")

from benchmarks import codec_quality, interval, low_rate, sound_scores
from quintet.config import SAMPLE_RATE, UserError
from quintet.media.audio import write_audio
from tests.conftest import needs_world

needs_codec2 = pytest.mark.skipif(
    not low_rate.codec2_is_here(), reason="the Debian package codec2 is not installed"
)


@pytest.fixture(autouse=True)
def one_thread() -> object:
    """The benchmark's threads do not reach another test."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def voice_like(seconds: float, seed: int = 0) -> np.ndarray:
    """A buzz that comes and goes like syllables, in noise."""
    rng = np.random.default_rng(seed)
    time_S = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * time_S) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * time_S + rng.uniform(0, 6)), 0, None)
    noise = rng.standard_normal(len(time_S))
    return (0.2 * buzz * syllables + 0.003 * noise).astype(np.float32)


@pytest.mark.parametrize("delay", [0, 1, 777, 1_900, -777])
def test_a_known_delay_is_found_and_taken_away(delay: int) -> None:
    sounds = [voice_like(2, seed) for seed in range(2)]
    late = [np.pad(x, (delay, 0)) if delay > 0 else x[-delay:] for x in sounds]
    assert sound_scores.find_delay(sounds, late) == delay
    aligned = sound_scores.align(late[0], delay, len(sounds[0]))
    begin = max(0, -delay)  # what came too early is lost
    np.testing.assert_array_equal(aligned[begin:], sounds[0][begin:])


def test_waves_of_its_own_do_not_mislead_the_alignment() -> None:
    """A parametric codec keeps the loudness and makes new waves."""
    sounds = [voice_like(3, seed) for seed in range(3)]
    rng = np.random.default_rng(0)
    made = []
    for sound in sounds:
        curve = np.convolve(np.abs(sound), np.hanning(240) / 120, "same")
        noise = (curve * rng.standard_normal(len(sound))).astype(np.float32)
        made.append(np.pad(noise, (600, 0)))
    assert abs(sound_scores.find_delay(sounds, made) - 600) < 0.01 * SAMPLE_RATE


def test_si_sdr_follows_its_definition() -> None:
    rng = np.random.default_rng(0)
    original = rng.standard_normal(4_000)
    original -= original.mean()
    noise = rng.standard_normal(4_000)
    noise -= noise.mean()
    noise -= original * (noise @ original) / (original @ original)  # orthogonal, as it is defined
    for decibels in (-10.0, 0.0, 20.0):
        scale = np.linalg.norm(original) / np.linalg.norm(noise) * 10 ** (-decibels / 20)
        for loudness in (0.3, 2.0):
            decoded = loudness * (original + scale * noise)
            assert sound_scores.si_sdr(original, decoded) == pytest.approx(decibels, abs=1e-6)
    assert sound_scores.si_sdr(original, 0 * original) == sound_scores.DECIBELS_OF_NOTHING


def test_scores_of_the_original_are_the_best_and_those_of_silence_do_not_raise() -> None:
    sound = voice_like(2)
    best = sound_scores.score(sound, sound)
    assert best[0] > 4.6 and best[1] > 4.5 and best[2] > 0.999 and best[4] == 0
    nothing = sound_scores.score(sound, np.zeros_like(sound))
    assert math.isnan(nothing[0]) and nothing[3] == sound_scores.DECIBELS_OF_NOTHING
    assert math.isnan(sound_scores.score(np.zeros_like(sound), sound)[0])


def test_the_interval_holds_the_mean_and_narrows_with_more_files() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (10, 1_000):
        mean, low, high = interval(rng.standard_normal(count))
        assert low < mean < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(2 * 1.96 / math.sqrt(1_000), rel=0.2)
    assert widths[1] < widths[0]
    assert interval(np.ones(3)) == (1, 1, 1)


def test_opus_comes_back_in_time_and_at_its_rate() -> None:
    sound = voice_like(2)
    made = low_rate.opus(sound)
    delay = sound_scores.find_delay([sound], [made])
    assert len(made) >= len(sound) and abs(delay) <= 24
    assert sound_scores.si_sdr(sound, sound_scores.align(made, delay, len(sound))) > 0
    assert 3_000 < low_rate.opus_rate([sound]) < 9_000


@needs_codec2
@pytest.mark.parametrize("mode", low_rate.CODEC2_MODES)
def test_codec2_comes_back_whole_and_late(mode: str) -> None:
    sound = voice_like(2)
    made = low_rate.codec2(sound, mode)
    assert made.dtype == np.float32 and made.any()
    assert len(made) >= len(sound) + sound_scores.find_delay([sound], [made])


def test_the_anchor_has_nothing_above_4_khz() -> None:
    rng = np.random.default_rng(0)
    spectrum = np.abs(np.fft.rfft(low_rate.low_pass(rng.standard_normal(24_000))))
    assert spectrum[4_100:].max() < 0.01 * spectrum[:3_000].mean()


@needs_world
def test_synthetic_clips_are_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_quality, "CLIPS", 2)
    first, again = codec_quality.synthetic_clips(), codec_quality.synthetic_clips()
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert 3 <= len(a) / SAMPLE_RATE <= 6 and np.abs(a).max() == pytest.approx(0.5)
    assert len(first[0]) != len(first[1])


def test_short_files_are_joined_and_long_ones_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="holds no speech"):
        codec_quality.real_clips(tmp_path)
    for index in range(5):
        write_audio(tmp_path / f"{index}.wav", voice_like(0.8, index))
    write_audio(tmp_path / "9.wav", voice_like(11))
    (tmp_path / "README.txt").write_text("not sound")
    clips = codec_quality.real_clips(tmp_path)
    assert [round(len(clip) / SAMPLE_RATE, 1) for clip in clips] == [2.8, 10.0]
    monkeypatch.setattr(codec_quality, "CLIPS", 1)
    assert len(codec_quality.real_clips(tmp_path)) == 1
    (tmp_path / "8.wav").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"8\.wav"):
        codec_quality.real_clips(tmp_path)


@needs_world
def test_rows_are_unique_finite_and_beside_the_nearest_rate(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_quality, "CLIPS", 2)
    for index in range(2):
        write_audio(tmp_path / f"{index}.wav", voice_like(2.2, index))
    rows = codec_quality.run(str(model_folder), tmp_path)
    assert len({row["name"] for row in rows}) == len(rows) > 0
    for row in rows:
        assert all(math.isfinite(row[key]) for key in ("value", "low", "high"))  # type: ignore[literal-required]
        assert row["low"] <= row["value"] <= row["high"] and 1 <= row["n"] <= 2
        if row["peer"] is not None:
            assert row["ratio"] == row["value"] / row["peer"] and "ours" in row["name"]
    by_name = {row["name"]: row for row in rows}
    peer = "Codec2 450" if low_rate.codec2_is_here() else "Opus"
    for books in (1, 2, 3):
        ours = by_name[f"synthetic, ours, {books} of 3 books, STOI"]
        assert ours["peer"] == by_name[f"synthetic, {peer}, STOI"]["value"]


@needs_world
def test_without_codec2_its_rows_are_left_out_and_it_is_said(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(codec_quality, "CLIPS", 1)
    monkeypatch.setattr(low_rate, "codec2_is_here", lambda: False)
    assert not any("Codec2" in row["name"] for row in codec_quality.run(str(model_folder)))
    assert "Codec2 is left out" in capsys.readouterr().out
