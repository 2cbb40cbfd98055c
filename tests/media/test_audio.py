"""Sound files come in as 24 kHz mono, or are refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from quintet.config import SAMPLE_RATE, UserError
from quintet.media.audio import read_audio, read_audio_bytes, write_audio


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    write_audio(path, tone(SAMPLE_RATE))
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert samples.shape == (SAMPLE_RATE,)
    assert np.abs(samples - tone(SAMPLE_RATE)).max() < 1e-4
    assert [p.name for p in tmp_path.iterdir()] == ["tone.wav"]


def test_sound_is_written_as_wav_alone(tmp_path: Path) -> None:
    for name in ("a.mp3", "a.flac", "a"):
        with pytest.raises(UserError, match=r"written as WAV; end it in \.wav"):
            write_audio(tmp_path / name, tone(SAMPLE_RATE))
    assert not list(tmp_path.iterdir())
    write_audio(tmp_path / "a.WAV", tone(SAMPLE_RATE))


def test_too_loud_sound_is_clipped(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    write_audio(path, 3 * tone(SAMPLE_RATE))
    assert np.abs(read_audio(path)).max() <= 1


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_any_rate_becomes_ours(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "tone.flac"
    soundfile.write(path, np.stack([tone(rate), tone(rate)], axis=1), rate)
    samples = read_audio(path)
    assert abs(len(samples) - SAMPLE_RATE) <= 1
    inner = slice(1_000, SAMPLE_RATE - 1_000)
    assert np.abs(samples[inner] - tone(SAMPLE_RATE)[inner]).max() < 1e-2


def test_bytes_read_as_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    write_audio(path, tone(SAMPLE_RATE))
    assert np.array_equal(read_audio_bytes(path.read_bytes()), read_audio(path))


def refusal(path: Path, **limits: float) -> str:
    with pytest.raises(UserError) as raised:
        read_audio(path, **limits)
    message = str(raised.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    assert "check the name" in refusal(tmp_path / "missing.wav")
    assert "is a folder; name a sound file" in refusal(tmp_path)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF" + bytes(100))
    assert "not a sound file" in refusal(broken)
    broken.write_bytes(b"")
    assert "not a sound file" in refusal(broken)
    raw = tmp_path / "sound.raw"  # the library would guess the format from the name
    raw.write_bytes(bytes(100))
    assert "not a sound file" in refusal(raw)
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), SAMPLE_RATE)
    assert "empty" in refusal(empty)
    wide = tmp_path / "wide.wav"
    soundfile.write(wide, np.zeros((10, 9)), SAMPLE_RATE)
    assert "9 channels" in refusal(wide)
    slow = tmp_path / "slow.wav"
    soundfile.write(slow, np.zeros(10), 1_000)
    assert "1,000 samples a second" in refusal(slow)


def test_too_long_is_refused_unless_allowed(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    write_audio(path, np.zeros(3 * SAMPLE_RATE))
    assert "longer than 2 seconds" in refusal(path, max_seconds=2.0)
    assert len(read_audio(path, max_seconds=3.0)) == 3 * SAMPLE_RATE


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.full(100, np.nan), SAMPLE_RATE, subtype="FLOAT")
    assert "not numbers" in refusal(path)
