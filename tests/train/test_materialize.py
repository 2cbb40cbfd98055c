"""A model filled part by part is the one that is made whole."""

from __future__ import annotations

from pathlib import Path

import torch
from conftest import make_config, make_model
from safetensors.torch import save_file

from quintet.model.omni import Omni
from quintet.tokenizers.weight_files import each_weight
from quintet.train.materialize import materialize, parts

CPU = torch.device("cpu")


def _filled(stored: Path | None) -> Omni:
    with torch.device("meta"):
        model = Omni(make_config())
    torch.manual_seed(7)
    materialize(model, CPU, None if stored is None else each_weight(stored))
    return model


def _assert_same(model: Omni, other: Omni) -> None:
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    expected = dict(other.named_parameters()) | dict(other.named_buffers())
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected[name]), name


def test_first_weights_are_those_of_the_whole_model() -> None:
    torch.manual_seed(7)
    whole = Omni(make_config())
    _assert_same(_filled(None), whole)


def test_stored_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    path, made = tmp_path / "model.safetensors", make_model(make_config())
    save_file(made.state_dict(), path)
    _assert_same(_filled(path), made)


def test_no_part_holds_more_than_a_block_or_the_tables() -> None:
    """Which is what a process must have room for beside its shares."""
    config = make_config()
    with torch.device("meta"):
        sizes = {name: sum(p.numel() for p in make().parameters()) for name, make in parts(config)}
        whole = sum(p.numel() for p in Omni(config).parameters())
    assert sum(sizes.values()) == whole
    assert len([name for name in sizes if "layers" in name]) == config.model.num_layers
