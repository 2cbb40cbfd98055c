"""What is called by the wrong name is told with the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.config import UserError
from quintet.tokenizers.folders import CONFIG_FILE, find


def test_a_folder_around_a_model_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"holds no {CONFIG_FILE}.*; name another folder"):
        find(str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / CONFIG_FILE).write_text("{}")
    with pytest.raises(UserError, match=f"so it is not a model; name {tmp_path}/model, which does"):
        find(str(tmp_path))
