"""Token files: sound in pieces equals the whole, and hand-made files are refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

import quintet
import quintet.media.audio
from quintet.commands import tokens as tokens_module
from quintet.commands.tokens import _encode_sound, _sound, decode_file
from quintet.config import UserError
from quintet.media.audio import write_audio
from quintet.tokenizers.audio import AudioTokenizer


@pytest.mark.parametrize("seconds", [0.05, 2.49, 2.51])  # a last piece may be very short
def test_sound_in_pieces_equals_the_whole(
    seconds: float, model_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(tokens_module, "PIECE_SAMPLES", 24_000)
    model, lengths = quintet.load(model_folder), []
    encode = AudioTokenizer.encode

    def watched(self: AudioTokenizer, audio_BS: torch.Tensor, state: object = None) -> object:
        lengths.append(audio_BS.shape[1])
        return encode(self, audio_BS, state)

    monkeypatch.setattr(AudioTokenizer, "encode", watched)
    write_audio(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(
        round(24_000 * seconds)))  # fmt: skip
    codes, metadata, note = _encode_sound(tmp_path / "a.wav", model)
    assert max(lengths) <= 24_000 and sum(lengths) == len(codes) * model.config.audio.hop
    assert "nan" not in note
    whole = quintet.media.audio.read_audio(tmp_path / "a.wav")
    padded = np.pad(whole, (0, -len(whole) % model.config.audio.hop))
    assert np.array_equal(codes, model.tokenizers.encode_audio(padded))
    made = _sound(codes, metadata, model, tmp_path)
    expected = model.tokenizers.audio.decode(torch.from_numpy(codes).long()[None])[0][0].numpy()
    np.testing.assert_allclose(made, expected[: len(whole)], atol=1e-5)


def _refusal(path: Path, model_folder: Path) -> str:
    out = path.with_suffix(".out")
    with pytest.raises(UserError) as told:
        decode_file(path, out, str(model_folder))
    assert not out.exists() and str(told.value).endswith(".")
    return str(told.value)


def test_hand_made_files_are_refused(model_folder: Path, tmp_path: Path) -> None:
    path, sound, text = tmp_path / "x.safetensors", {"medium": "sound"}, {"medium": "text"}
    save_file({"tokens": np.array(3)}, path, metadata=sound)
    assert "not a token file" in _refusal(path, model_folder)
    save_torch({"tokens": torch.zeros(4, 3, dtype=torch.bfloat16)}, path, metadata=sound)
    assert "not a token file" in _refusal(path, model_folder)
    save_file({"other": np.zeros((4, 3), np.int32)}, path, metadata=sound)
    assert "not a token file" in _refusal(path, model_folder)
    save_file({"tokens": np.zeros((7_202, 3), np.uint16)}, path, metadata=sound)
    assert "longer than 600 seconds" in _refusal(path, model_folder)
    save_file({"tokens": np.zeros(2_000_001, np.uint8)}, path, metadata=text)
    assert "too long a text" in _refusal(path, model_folder)


def test_an_absurd_length_is_not_believed(model_folder: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "x.safetensors", tmp_path / "x.wav"
    metadata = {"medium": "sound", "samples": "9" * 5_000}
    save_file({"tokens": np.zeros((4, 3), np.uint16)}, path, metadata=metadata)
    decode_file(path, out, str(model_folder))
    assert len(quintet.media.audio.read_audio(out)) == 4 * 2_000
