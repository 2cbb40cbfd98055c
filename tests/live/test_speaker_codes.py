"""A voice at its bounds: the least that makes one, and the most that a folder holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import make_config

from quintet.config import LEAST_SPEAKER_STEPS, MOST_SPEAKER_STEPS, STEP_SAMPLES, UserError
from quintet.live import speakers
from quintet.live.speakers import is_voice, load_voices, save_voices, speaker_sound

CONFIG = make_config()
CODES = np.zeros((6, 3), np.int32)


def _spoken(monkeypatch: pytest.MonkeyPatch, *spans: tuple[int, int]) -> np.ndarray:
    """What is taken of a sound with speech in these places."""
    sound = np.linspace(0.1, 0.2, 100_000, dtype=np.float32)
    monkeypatch.setattr(speakers, "speech_spans", lambda _: list(spans))
    return speaker_sound(sound) / np.float32(0.7) * sound[max(end for _, end in spans) - 1]


def test_a_second_of_speech_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    least = LEAST_SPEAKER_STEPS * STEP_SAMPLES
    assert len(_spoken(monkeypatch, (7, 7 + least))) == least
    with pytest.raises(UserError, match="at least a second"):
        _spoken(monkeypatch, (7, 6 + least))


def test_a_voice_is_its_speech_and_silence_to_a_whole_step(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.linspace(0.1, 0.2, 100_000, dtype=np.float32)
    heard = _spoken(monkeypatch, (5_000, 20_000), (30_000, 42_000))
    spoken = np.concatenate([sound[5_000:20_000], sound[30_000:42_000]])
    np.testing.assert_allclose(heard, np.pad(spoken, (0, 3_000)), rtol=1e-5)


def test_codes_of_two_seconds_and_of_any_entry_are_a_voice() -> None:
    audio = CONFIG.audio
    longest = audio.frames_before(MOST_SPEAKER_STEPS)
    for count in (1, longest):
        for code in (0, audio.codebook_size - 1):
            assert is_voice(np.full((count, 3), code, np.int32), audio)
    assert not is_voice(np.zeros((longest + 1, 3), np.int32), audio)
    assert not is_voice(np.zeros((6, 3, 1), np.int32), audio)


def test_a_folder_holds_so_many_voices_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "voices.safetensors"
    save_voices({f"{number:03}": CODES for number in range(256)}, path, CONFIG)
    assert len(load_voices(path, CONFIG)) == 256
    monkeypatch.setattr(speakers, "LARGEST_FILE", path.stat().st_size)
    assert len(load_voices(path, CONFIG)) == 256
