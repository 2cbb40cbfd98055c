"""A run is watched from outside: no step is told twice, however often it was killed."""

from __future__ import annotations

import json
import sys
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import DRAW
from PIL import Image
from short_runs import SETTINGS, DyingOmni, Killed, log_of, make_samples, omni

from quintet import train
from quintet.config import UserError
from quintet.media.audio import write_audio
from quintet.media.images import write_image
from quintet.settings import check_type
from quintet.train import TrainConfig
from quintet.train.loggers import BOARD, LOG, PICTURE, Loggers
from quintet.train.plots import HELD_OUT, _is_part, plot_losses

tensorboardX = pytest.importorskip("tensorboardX")


class _Showing(DyingOmni):
    def show(self, module, folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_image(folder / "deep.png", np.zeros((8, 8, 3), np.uint8))
        write_audio(folder / "said.wav", np.zeros(2_400, np.float32))
        (folder / "words.txt").write_text("hello\nthere\n")


def _showing(dies_at: int = -1) -> DyingOmni:
    from conftest import make_config

    samples = make_samples(10)
    task = _Showing(make_config(), SETTINGS, samples[:8], samples[8:], start_from=None)
    task.dies_at = dies_at
    return task


def _told(folder: Path) -> tuple[Counter, dict]:
    """How often TensorBoard's files tell each (name, step), and the numbers."""
    from tensorboardX.event_file_writer import EventsWriter  # noqa: F401  (its files are read here)
    from tensorboardX.proto.event_pb2 import Event

    counted, numbers = Counter(), {}
    for path in (folder / BOARD).iterdir():
        content, place = path.read_bytes(), 0
        while place < len(content):  # length, its checksum, the event, its checksum
            length = int.from_bytes(content[place : place + 8], "little")
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 12 + length + 4
            for value in event.summary.value:
                counted[value.tag, event.step] += 1
                if value.HasField("simple_value"):
                    numbers[value.tag, event.step] = value.simple_value
    return counted, numbers


def test_tensorboard_tells_every_step_once_however_often_the_run_was_killed(
    tmp_path: Path,
) -> None:
    config = replace(SETTINGS, loggers=("tensorboard",))
    for dies_at in (2, 7, 11):  # 7 is after a checkpoint, an evaluation, and steps to do again
        with pytest.raises(Killed):
            train.run(_showing(dies_at), config, tmp_path, "killed")
    train.run(_showing(), config, tmp_path, "again")
    counted, numbers = _told(tmp_path)
    assert set(counted.values()) == {1}
    for line in log_of(tmp_path):
        for name, value in line.items():
            if name != "step":
                assert numbers[name, line["step"]] == pytest.approx(value, rel=1e-6)
    shown = {step for name, step in counted if name.startswith("eval/loss")}
    assert shown == {4, 9, 11}
    for name in ("deep", "said", "words/text_summary"):
        assert {step for tag, step in counted if tag == name} == shown


class _Remote:
    """What Weights & Biases does with steps: each is taken once and in order; the last one is
    open until the next begins, and lost when the process is killed."""

    def __init__(self) -> None:
        self.rows: dict[int, dict] = {}
        self.step = 0

    def log(self, values: dict, step: int) -> None:
        assert step >= self.step, "a step that it has already"
        self.step = step
        self.rows.setdefault(step, {}).update(values)

    def finish(self, exit_code: int) -> None:
        if exit_code:
            self.rows.pop(self.step, None)
        else:
            self.step += 1


def test_weights_and_biases_goes_on_with_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: dict[str, _Remote] = {}

    def init(**settings):
        assert settings["resume"] == "allow" and settings["config"]["steps"] == 12
        return runs.setdefault(settings["id"], _Remote())

    fake = types.ModuleType("wandb")
    fake.init = init
    fake.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    config = replace(SETTINGS, loggers=("wandb",))
    for dies_at in (2, 7, 11):
        task = omni()
        task.dies_at = dies_at
        with pytest.raises(Killed):
            train.run(task, config, tmp_path, "killed")
    train.run(omni(), config, tmp_path, "again")
    (remote,) = runs.values()
    assert sorted(remote.rows) == list(range(12))
    for line in log_of(tmp_path):
        row = remote.rows[line["step"]]
        assert all(row[name] == value for name, value in line.items() if name != "step")
    assert "eval/loss" in remote.rows[11]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_told_when_the_recipe_is_read(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(UserError, match=rf"not installed; .* install the extra quintet\[{name}\]"):
        TrainConfig(1, 1, loggers=(name,))


def test_another_logger_is_told() -> None:
    kind = TrainConfig.__annotations__["loggers"]
    import typing

    kind = typing.get_type_hints(TrainConfig)["loggers"]
    with pytest.raises(UserError, match="make it a list of 'tensorboard' or 'wandb'"):
        check_type("loggers", ["tensorbord"], kind, "mine.toml")


def test_only_losses_are_drawn_as_parts_of_the_loss(tmp_path: Path) -> None:
    train.run(omni(), SETTINGS, tmp_path, "drawn")
    written = (tmp_path / LOG).read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in written]
    steps = [line for line in lines if "gradient_norm" in line]
    drawn = {name for line in steps for name in line if _is_part(name, line)}
    losses = {name.removeprefix(HELD_OUT) for line in lines for name in line if HELD_OUT in name}
    assert all("waiting" in line for line in steps)
    assert drawn and drawn <= losses


def test_the_picture_is_drawn_from_the_log_and_shows_what_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loggers, "_draw", DRAW)
    train.run(omni(), replace(SETTINGS, evaluate_every=6), tmp_path, "drawn")
    with Image.open(tmp_path / PICTURE) as picture:
        assert picture.size == (800, 512)
    lines = log_of(tmp_path)
    plot_losses(lines, tmp_path / "same.png", "a run")
    lines[5]["loss"] = lines[5]["gradient_norm"] = float("nan")
    plot_losses(lines, tmp_path / "bad.png", "a run")
    same, bad = (
        np.asarray(Image.open(tmp_path / f"{n}.png").convert("RGB")) for n in ("same", "bad")
    )
    red = lambda pixels: int((np.abs(pixels - np.array([194, 59, 59])).sum(-1) < 40).sum())  # noqa: E731
    assert red(bad) > red(same)
    plot_losses(lines * 400, tmp_path / "long.png", "a long run")
    plot_losses([], tmp_path / "none.png", "nothing yet")
