"""What a stage hands on is noticed when it has changed, and the stage that made it is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file
from short_runs import make_samples

from quintet.config import UserError, load_preset
from quintet.data.shards import load_samples, save_samples
from quintet.stages.context import Context
from quintet.stages.recipe import run_stage
from quintet.train.exports import DIGESTS, export, is_whole


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def _made(folder: Path) -> Context:
    """A stage whose earlier one has exported a file."""
    weights = bytes(range(100))
    export(lambda partial: _write(partial / "model.safetensors", weights), folder / "pretrain")
    return Context("audio", load_preset("tiny"), {}, folder)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0, 50, 99])
def test_a_flipped_bit_names_the_stage_to_run_again(place: int, tmp_path: Path) -> None:
    context = _made(tmp_path)
    path = context.start("pretrain")
    assert path.read_bytes() == bytes(range(100))
    _flip(path, place)
    with pytest.raises(
        UserError, match=r"pretrain.* damaged; delete .*--stage pretrain --out .*\).$"
    ):
        context.start("pretrain")


def test_a_cut_file_or_record_is_noticed_and_older_folders_have_none(tmp_path: Path) -> None:
    path = _made(tmp_path).start("pretrain")
    record = path.with_name(DIGESTS)
    whole = record.read_bytes()
    record.write_bytes(whole[:-10])
    assert not is_whole(path)
    record.write_bytes(whole)
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_whole(path)
    record.unlink()
    assert is_whole(path)


def test_a_file_that_stands_there_has_a_digest_whenever_the_run_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move, moved = Path.replace, list[str]()

    def killed(self: Path, target: Path) -> Path:
        if len(moved) == 1:
            raise KeyboardInterrupt
        moved.append(target.name)
        return move(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        _made(tmp_path)
    assert moved == [DIGESTS]
    monkeypatch.undo()
    assert is_whole(_made(tmp_path).start("pretrain"))


def test_what_is_deleted_as_told_is_made_again(tmp_path: Path) -> None:
    context = Context("text_tokenizer", load_preset("tiny"), {"lines": 400}, tmp_path)
    context.settings["stage"] = "text_tokenizer"
    scores = run_stage(context)
    path = context.made_by("text_tokenizer", "text_tokenizer.model")
    before = path.read_bytes()
    _flip(path, len(before) // 2)
    with pytest.raises(UserError, match="delete"):
        context.made_by("text_tokenizer", "text_tokenizer.model")
    path.unlink()
    (context.folder / "scores.json").unlink()
    assert run_stage(context) == scores
    assert path.read_bytes() == before


def test_scores_that_are_not_whole_are_made_again(tmp_path: Path) -> None:
    settings = {"lines": 400, "stage": "text_tokenizer"}
    context = Context("text_tokenizer", load_preset("tiny"), settings, tmp_path)
    scores = run_stage(context)
    path = context.folder / "scores.json"
    path.write_bytes(path.read_bytes()[:-5])
    assert run_stage(context) == scores == run_stage(context)


def test_a_damaged_shard_is_told(tmp_path: Path) -> None:
    whole = tmp_path / "pretrain" / "00000.safetensors"
    save_samples(whole, make_samples(3))
    assert [sample.source for sample in load_samples(whole)] == [
        ("pretrain/00000.safetensors", index) for index in range(3)
    ]
    for place in (4, 200, -40, -1):
        damaged = tmp_path / "more" / "pretrain" / "damaged.safetensors"
        damaged.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole, damaged)
        _flip(damaged, place)
        with pytest.raises(
            UserError, match=r"damaged.safetensors is damaged; .* run that stage \(more\) again"
        ):
            load_samples(damaged)
    save_file(load_file(whole), damaged)  # the same columns, and no digest of them
    with pytest.raises(UserError, match="is damaged"):
        load_samples(damaged)
