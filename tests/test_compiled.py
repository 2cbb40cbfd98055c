"""What Numba keeps is up to date with what it was made of."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

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
    files = sorted(Path(compiled.__file__).parent.glob("*.py"))
    assert {"__init__.py", "panels.py"} <= {file.name for file in files}
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert digest == compiled.DIGEST
    monkeypatch.setattr(compiled, "DIGEST", "of another panels.py")
    assert sum(_made(path).cache_hits.values()) == 0
    assert sum(_made(path).cache_hits.values()) == 1


def test_what_could_get_out_of_date_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(function: object, cache: bool = False, **_: object) -> tuple[object, bool]:
        return function, cache

    monkeypatch.setattr(compiled.numba, "njit", njit)
    assert compiled.compiled(len) == (len, False)
    monkeypatch.setattr(compiled.numba, "njit", lambda function, **_: function)
    assert compiled.compiled(len) is len  # as with NUMBA_DISABLE_JIT


@pytest.mark.parametrize("size", [1.0, 1e-4])
def test_a_norm_equals_pytorchs_of_small_numbers_too(size: float) -> None:
    rng = np.random.default_rng(0)
    x_I, weight_I = rng.standard_normal((2, 33)).astype(np.float32)
    x_I, made_I = x_I * np.float32(size), np.empty(33, np.float32)
    compiled.rms_norm(x_I, weight_I, made_I)
    expected_I = F.rms_norm(torch.from_numpy(x_I), (33,), torch.from_numpy(weight_I))
    np.testing.assert_allclose(made_I, expected_I, rtol=1e-5)
