"""A damaged checkpoint is noticed, and the one before it serves."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_config, make_samples
from safetensors.torch import load_file
from short_runs import SETTINGS, DyingOmni, Killed, log_of, omni

from quintet import train
from quintet.config import UserError, load_preset
from quintet.stages.omni_task import OmniTask
from quintet.tokenizers.audio import AudioTokenizer
from quintet.train.checkpoint import ABOUT, Checkpoints, FileSystemWriter, _digest_of, weights
from quintet.train.loop import MOST_BAD_STEPS
from quintet.train.processes import Place
from quintet.train.task import CHECKPOINTS


def _cut(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-10])


def _flip(folder: Path, name: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _lose(folder: Path, name: str) -> None:
    (folder / name).unlink()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train.run(omni(), SETTINGS, folder, "whole")
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that died in its last step; its checkpoints are of steps 4 and 8."""
    folder = tmp_path_factory.mktemp("stopped")
    task = omni()
    task.dies_at = 11
    with pytest.raises(Killed):
        train.run(task, SETTINGS, folder, "killed")
    return folder


def _copy(stopped: Path, tmp_path: Path) -> tuple[Path, list[Path]]:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    return folder, sorted((folder / CHECKPOINTS).iterdir())


@pytest.mark.parametrize("damage", [_cut, _flip, _lose])
@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata", ABOUT])
def test_the_one_before_a_damaged_checkpoint_serves(
    whole: Path,
    stopped: Path,
    tmp_path: Path,
    damage: Callable[[Path, str], None],
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, (_, newest) = _copy(stopped, tmp_path)
    damage(newest, name)
    train.run(omni(), SETTINGS, folder, "again")
    assert f"{newest} is damaged" in capsys.readouterr().err
    assert log_of(folder) == log_of(whole)
    ours, theirs = (load_file(f / "model.safetensors") for f in (folder, whole))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_where_none_is_whole_a_person_is_told(stopped: Path, tmp_path: Path) -> None:
    folder, found = _copy(stopped, tmp_path)
    for path in found:
        _cut(path, ".metadata")
    with pytest.raises(UserError, match=r"No checkpoint in .* is whole; delete .*again.$"):
        train.run(omni(), SETTINGS, folder, "again")


def test_the_newest_two_are_kept_and_half_ones_removed(stopped: Path, tmp_path: Path) -> None:
    folder, found = _copy(stopped, tmp_path)
    assert [path.name for path in found] == ["00000004", "00000008"]
    half = folder / CHECKPOINTS / "00000012.partial"
    shutil.copytree(found[0], half)
    train.run(omni(), SETTINGS, folder, "again")
    assert sorted(p.name for p in (folder / CHECKPOINTS).iterdir()) == ["00000008", "00000012"]


def test_the_weights_of_a_run_are_in_its_newest_checkpoint(whole: Path) -> None:
    exported = load_file(whole / "model.safetensors")
    assert all(torch.equal(exported[k], v) for k, v in weights(whole).items())


def test_weights_of_which_hooks_give_copies_are_restored(tmp_path: Path) -> None:
    """Those of the codec's convolutions, whose normalization is folded away, and the optimizer's
    state of them."""

    def codec(seed: int) -> tuple[AudioTokenizer, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        module = AudioTokenizer(load_preset("tiny").audio).fold()
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
        module(torch.randn(2, 3_000), False)[0].square().sum().backward()
        optimizer.step()
        return module, optimizer

    (saved, its), (other, others) = codec(0), codec(1)
    Checkpoints(tmp_path, Place(), {}).save(saved, its, 1)
    assert Checkpoints(tmp_path, Place(), {}).load(other, others) == 1
    for mine, theirs in zip(saved.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        for kind, kept in its.state[mine].items():
            assert torch.equal(kept, others.state[theirs][kind])


def test_a_checkpoint_of_another_shape_is_told(stopped: Path, tmp_path: Path) -> None:
    folder, _ = _copy(stopped, tmp_path)
    other = make_config()
    other = replace(other, model=replace(other.model, d_feed_forward=32))
    samples = make_samples(10)
    task = OmniTask(other, SETTINGS, samples[:8], samples[8:], None)
    with pytest.raises(UserError, match=r"does not fit this stage .*feed_forward"):
        train.run(task, SETTINGS, folder, "other")


def test_a_setting_that_is_younger_than_a_checkpoint_is_not_compared(
    whole: Path, stopped: Path, tmp_path: Path
) -> None:
    folder, (_, newest) = _copy(stopped, tmp_path)
    about = json.loads((newest / ABOUT).read_text())
    del about["settings"]["clip"], about["digest"]
    about["digest"] = _digest_of(about)
    (newest / ABOUT).write_text(json.dumps(about))
    train.run(omni(), SETTINGS, folder, "again")
    assert log_of(folder) == log_of(whole)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileSystemWriter, "write_data", fail)
    with pytest.raises(UserError, match=r"could not be written .*No space left"):
        train.run(omni(), SETTINGS, tmp_path, "full")


class _Bad(DyingOmni):
    """Whose loss is not a number in some steps."""

    bad: range = range(0)

    def losses(self, module, batch, step):
        losses = super().losses(module, batch, step)
        return losses | {"loss": losses["loss"] * float("nan")} if step in self.bad else losses


def _bad(steps: range) -> _Bad:
    samples = make_samples(10)
    task = _Bad(make_config(), SETTINGS, samples[:8], samples[8:], start_from=None)
    task.bad = steps
    return task


def test_a_bad_batch_is_passed_over(tmp_path: Path) -> None:
    train.run(_bad(range(5, 6)), SETTINGS, tmp_path, "one")
    assert all(w.isfinite().all() for w in load_file(tmp_path / "model.safetensors").values())


def test_many_bad_steps_stop_the_run(whole: Path, tmp_path: Path) -> None:
    """And leave the checkpoint from before, from which a mended run goes on; the log names the
    samples."""
    with pytest.raises(UserError, match="From step 6 to 10 of lost no loss was a number"):
        train.run(_bad(range(6, 6 + MOST_BAD_STEPS)), SETTINGS, tmp_path, "lost")
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == ["00000004"]
    named = [line["batch"] for line in log_of(tmp_path) if "batch" in line]
    assert len(named) == MOST_BAD_STEPS and all(
        name.startswith("those that were given, samples ") for name in named
    )
    train.run(omni(), SETTINGS, tmp_path, "again")
    assert log_of(tmp_path) == log_of(whole)
