"""Token files that somebody made by hand, and places for results, are refused in a sentence
(sound: test_sound_tokens; pictures: test_picture_tokens)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from quintet.commands.tokens import decode_file, encode_file
from quintet.config import UserError, counted


def _refusal(path: Path, model_folder: Path, suffix: str = ".out") -> str:
    out = path.with_suffix(suffix)
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


def test_the_wrong_model_is_told_the_right_one(model_folder: Path, tmp_path: Path) -> None:
    path, large = tmp_path / "x.safetensors", np.full((4, 3), 9_999)
    kinds = (("sound", ".wav", large), ("picture", ".png", large), ("text", ".txt", large.ravel()))
    for medium, suffix, tokens in kinds:
        metadata = {"format_version": "1", "medium": medium}
        save_file({"tokens": tokens}, path, metadata=metadata | {"model": "runs/large\n"})
        assert "which the file calls 'runs/large' (--model)" in _refusal(path, model_folder, suffix)
        save_file({"tokens": tokens}, path, metadata=metadata)
        assert "that encoded it (--model)" in _refusal(path, model_folder, suffix)


def test_a_result_never_takes_the_place_of_its_source(model_folder: Path, tmp_path: Path) -> None:
    path, link = tmp_path / "a.txt", tmp_path / "link.txt"
    path.write_text("hello")
    link.symlink_to(path)
    for out in (path, link):
        with pytest.raises(UserError, match="is the file to read"):
            encode_file(path, out, "nonsense")
    encode_file(path, None, str(model_folder))
    tokens = tmp_path / "a.txt.safetensors"
    before = tokens.read_bytes()
    with pytest.raises(UserError, match="is the file to read"):
        decode_file(tokens, tokens, str(model_folder))
    assert path.read_text() == "hello" and tokens.read_bytes() == before


def test_a_folder_is_no_place_for_a_result(model_folder: Path, tmp_path: Path) -> None:
    path, folder = tmp_path / "a.txt", tmp_path / "there"
    path.write_text("hello")
    folder.mkdir()
    told = f"^{folder} is a folder; name a file with --out.$"
    with pytest.raises(UserError, match=told):
        encode_file(path, folder, "nonsense")  # judged before the model is looked for
    with pytest.raises(
        UserError, match=r"is a folder; name a token file, such as .*\.safetensors\."
    ):
        decode_file(tmp_path, None, str(model_folder))
    with pytest.raises(UserError, match="is a folder; name a file, or see quintet tokenize"):
        encode_file(folder, None, "nonsense")
    encode_file(path, None, str(model_folder))
    tokens = tmp_path / "a.txt.safetensors"
    with pytest.raises(UserError, match=told):
        decode_file(tokens, folder, "nonsense")
    (tmp_path / "a.txt.decoded.txt").mkdir()  # the name that it has without --out
    with pytest.raises(UserError, match=r"a\.txt\.decoded\.txt is a folder"):
        decode_file(tokens, None, "nonsense")
    assert not list(folder.iterdir())


def test_a_tokenizer_of_pictures_is_told_not_to_read_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UserError) as told:
        encode_file(tmp_path / "a.txt", None, "pictures-4k")
    assert str(told.value).startswith("pictures-4k is an image tokenizer, not a whole model; ")


def test_numbers_are_told_with_their_things(model_folder: Path, tmp_path: Path) -> None:
    assert [counted(n, "code") for n in (0, 1, 12_288)] == ["0 codes", "1 code", "12,288 codes"]
    (tmp_path / "a.txt").write_text("a")
    assert ": 1 character in 1 token, " in encode_file(tmp_path / "a.txt", None, str(model_folder))
