"""Token files that somebody made by hand are refused in a sentence (sound: test_sound_tokens)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from quintet.commands.tokens import decode_file
from quintet.config import UserError


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
    save_file({"tokens": np.zeros(2_000_001, np.uint8)}, path, metadata=text)
    assert "too long a text" in _refusal(path, model_folder)
