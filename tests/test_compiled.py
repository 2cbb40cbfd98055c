"""What Numba keeps is up to date with what it was made of."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from quintet import compiled

# Through the codec's convolutions, recurrence and search, cached decoding, and attention of lines.
USED = """
import hashlib

import numpy as np
import torch

import quintet
from quintet.compiled.attention import backward, forward

def tell(name, array):
    print(name, hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest())

torch.set_num_threads(1)
torch.set_grad_enabled(False)
rng = np.random.default_rng(0)
codec = quintet.load_codec("speech-480")
sound = torch.from_numpy(rng.standard_normal((1, 24_000), dtype=np.float32)) / 10
tell("sound", codec.decode(codec.encode(sound)[0])[0])
q, k, v, slope = (rng.standard_normal((3, 70, 4, 32), dtype=np.float32) for _ in range(4))
lines = forward(q, k, v, None, 1)
for made in (lines.y_BTHE, lines.log_BHT, *backward(lines, slope, 1)):
    tell("lines", made)
reply = quintet.load("nano").talk(text="draw a cat.", seed=1)
tell("speech", reply.audio)
tell("picture", np.asarray(reply.images[0]))
"""
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


def test_what_is_compiled_now_makes_the_digits_of_what_was_kept(tmp_path: Path) -> None:
    """A run that is killed, and goes on where all is compiled already, would differ from itself."""
    around = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    now, kept = (
        subprocess.run(
            [sys.executable, "-c", USED], env=around, check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    )
    assert now == kept and now.count("\n") == 9
    assert any(tmp_path.rglob("*.nbc"))


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
