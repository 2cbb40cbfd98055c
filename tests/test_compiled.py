"""What Numba keeps is up to date with what it was made of."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quintet import compiled

PROGRAM = """
from quintet.compiled import compiled

def _twice(x):
    return x + x

twice = compiled(_twice)
"""


def _made(path: Path) -> Any:
    """The function as another process would find it."""
    spec = importlib.util.spec_from_file_location("kept", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.twice(np.float32(2)) == 4
    return module.twice.stats


def test_what_is_kept_follows_what_is_inlined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.py"
    path.write_text(PROGRAM, encoding="utf-8")
    assert sum(_made(path).cache_hits.values()) == 0
    assert sum(_made(path).cache_hits.values()) == 1  # from the folder
    path.write_text(PROGRAM + "more = 1\n", encoding="utf-8")
    assert sum(_made(path).cache_hits.values()) == 0
    assert sum(_made(path).cache_hits.values()) == 1
    assert hashlib.sha256(Path(compiled.__file__).read_bytes()).hexdigest() == compiled.DIGEST
    monkeypatch.setattr(compiled, "DIGEST", "of another compiled.py")
    assert sum(_made(path).cache_hits.values()) == 0
    assert sum(_made(path).cache_hits.values()) == 1
