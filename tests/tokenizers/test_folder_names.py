"""What is called by the wrong name is told with the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.config import UserError
from quintet.tokenizers.folders import (
    AUDIO_FILE,
    CONFIG_FILE,
    IMAGE_FILE,
    TEXT_FILE,
    WEIGHTS_FILE,
    find,
)


@pytest.mark.parametrize("within", ["model", "release/model"])
def test_a_folder_around_a_model_names_it(tmp_path: Path, within: str) -> None:
    """And not a tokenizer's beside it, as a recipe's run has."""
    for folder, files in (
        ("audio_tokenizer", (AUDIO_FILE,)),
        (within, (WEIGHTS_FILE, TEXT_FILE, AUDIO_FILE, IMAGE_FILE)),
    ):
        with pytest.raises(UserError, match=f"holds no {CONFIG_FILE}.*; name another folder"):
            find(str(tmp_path))
        (tmp_path / folder).mkdir(parents=True)
        for file in (CONFIG_FILE, *files):
            (tmp_path / folder / file).write_text("{}")
    with pytest.raises(UserError, match=f"is not a model; name {tmp_path}/{within}, which is one"):
        find(str(tmp_path))
    codec = f"name {tmp_path}/audio_tokenizer, which is one"
    with pytest.raises(UserError, match=codec):
        find(str(tmp_path), (CONFIG_FILE, AUDIO_FILE))
