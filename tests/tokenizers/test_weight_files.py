"""Weights in one file or in shards, as the hub lays them out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from quintet.config import UserError
from quintet.tokenizers import weight_files as weight_files_module
from quintet.tokenizers.weight_files import (
    check_weights,
    load_weights,
    read_weights,
    save_weights,
    weight_files,
)

SHARD = "1KB"  # of float16: 500 values


def _module() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(*(nn.Linear(16, 16) for _ in range(6)))
    return module.half().float()  # what the files can hold


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save_weights(_module(), tmp_path / "model.safetensors", SHARD)
    return tmp_path / "model.safetensors"


def test_shards_and_one_file_give_the_same(sharded: Path, tmp_path: Path) -> None:
    whole = tmp_path / "other" / "model.safetensors"
    whole.parent.mkdir()
    save_weights(_module(), whole)
    assert weight_files(whole) == [whole] and len(weight_files(sharded)) == 6
    for path in (whole, sharded):
        again = nn.Sequential(*(nn.Linear(16, 16) for _ in range(6)))
        load_weights(again, path)
        for mine, theirs in zip(again.parameters(), _module().parameters(), strict=True):
            assert torch.equal(mine, theirs)
    assert read_weights(whole).keys() == read_weights(sharded).keys()


def test_shards_are_laid_out_as_on_the_hub(sharded: Path) -> None:
    """Small enough, named as others name them, and the index says where everything is."""
    files = sorted(path.name for path in sharded.parent.glob("*.safetensors"))
    assert files == [f"model-0000{n}-of-00006.safetensors" for n in range(1, 7)]
    index = json.loads((sharded.parent / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(files)
    assert index["metadata"]["total_size"] == 2 * sum(p.numel() for p in _module().parameters())
    for name in files:
        with safe_open(sharded.parent / name, "pt") as file:
            assert set(file.keys()) == {k for k, v in index["weight_map"].items() if v == name}
            assert sum(file.get_tensor(key).nbytes for key in file.keys()) <= 1_000  # noqa: SIM118


def test_saving_again_leaves_nothing_of_before(sharded: Path) -> None:
    save_weights(_module(), sharded)
    assert [path.name for path in sharded.parent.iterdir()] == ["model.safetensors"]
    save_weights(_module(), sharded, SHARD)
    assert not sharded.exists() and len(list(sharded.parent.iterdir())) == 7


def test_weights_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(nn.Linear(2, 2), path)
    before = path.read_bytes()

    def fail(weights: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space")

    monkeypatch.setattr(weight_files_module, "save_file", fail)
    with pytest.raises(OSError, match="no space"):
        save_weights(nn.Linear(2, 2), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    assert read_weights(path)["weight"].shape == (2, 2)


def test_damage_is_told_in_a_sentence(sharded: Path) -> None:
    with pytest.raises(UserError, match="another shape"):
        check_weights(nn.Sequential(nn.Linear(16, 16)), sharded)
    shard = weight_files(sharded)[1]
    kept = shard.read_bytes()
    shard.write_bytes(kept[:100])
    with pytest.raises(UserError, match=f"{shard.name} is damaged"):
        load_weights(_module(), sharded)
    shard.unlink()
    with pytest.raises(UserError, match=f"no file .*{shard.name}"):
        load_weights(_module(), sharded)
    index = sharded.parent / "model.safetensors.index.json"
    for text in ("[", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../b"}}',
                 '{"weight_map": {"a": ".."}}', '{"weight_map": {"a": ""}}',
                 '{"weight_map": {"a": "config.json"}}', '{"weight_map": {"a": 3}}'):  # fmt: skip
        index.write_text(text)
        with pytest.raises(UserError, match="not an index of weights"):
            load_weights(_module(), sharded)
