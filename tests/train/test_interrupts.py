"""Ctrl-C saves the step it came in, and the run goes on from there to the same end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from short_runs import SETTINGS, log_of, omni

from quintet import train
from quintet.commands.farewell import say
from quintet.config import UserError
from quintet.stages.omni_task import OmniTask
from quintet.train.checkpoint import _Writer
from quintet.train.interrupts import STOPS, heard_late
from quintet.train.processes import Place
from quintet.train.task import CHECKPOINTS

RARELY = replace(SETTINGS, checkpoint_every=100)


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    """As a command is that a person has started, also where these tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _pressed(task: OmniTask, at: int, times: int = 1) -> OmniTask:
    """A task during whose step `at` somebody presses Ctrl-C."""
    losses = task.losses

    def pressed(module, batch, step):
        for _ in range(times if step == at else 0):
            os.kill(os.getpid(), signal.SIGINT)
        return losses(module, batch, step)

    task.losses = pressed  # type: ignore[method-assign]
    return task


@pytest.mark.parametrize("at", [0, 6, 11])
def test_goes_on_from_where_it_was_stopped(tmp_path: Path, at: int, capsys) -> None:
    scores = train.run(omni(RARELY), RARELY, tmp_path / "whole", "whole")
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train.run(_pressed(omni(RARELY), at), RARELY, folder, "stopped")
    assert f"stopped {STOPS}." in capsys.readouterr().err
    assert [path.name for path in (folder / CHECKPOINTS).iterdir()] == [f"{at + 1:08}"]
    task = omni(RARELY)
    task.dies_at = at  # it is not asked for again
    assert train.run(task, RARELY, folder, "again") == scores
    assert log_of(folder) == log_of(tmp_path / "whole")


def test_pressed_again_stops_at_once_and_afterwards_as_ever(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train.run(_pressed(omni(RARELY), 6, times=2), RARELY, tmp_path, "stopped")
    assert not (tmp_path / CHECKPOINTS).exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_step_whose_loss_is_no_number_is_not_saved(tmp_path: Path) -> None:
    task = omni(RARELY)
    losses = task.losses

    def bad(module, batch, step):
        made = losses(module, batch, step)
        return made | {"loss": made["loss"] * float("nan")}

    task.losses = bad  # type: ignore[method-assign]
    with pytest.raises(UserError, match="no loss was a number"):
        train.run(_pressed(task, 2), RARELY, tmp_path, "stopped")
    assert not (tmp_path / CHECKPOINTS).exists()


def test_after_a_step_whose_loss_is_no_number_the_next_good_one_is_saved(tmp_path: Path) -> None:
    task = omni(RARELY)
    losses = task.losses

    def bad(module, batch, step):
        made = losses(module, batch, step)
        return made | ({"loss": made["loss"] * float("nan")} if step in (2, 3) else {})

    task.losses = bad  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train.run(_pressed(task, 2), RARELY, tmp_path, "stopped")
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == ["00000005"]


def test_a_second_press_while_it_is_written_blames_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = _Writer.write_data

    def pressed(self, plan, planner):
        os.kill(os.getpid(), signal.SIGINT)
        return written(self, plan, planner)

    monkeypatch.setattr(_Writer, "write_data", pressed)
    with pytest.raises(KeyboardInterrupt):
        train.run(_pressed(omni(RARELY), 6), RARELY, tmp_path, "stopped")
    assert not [path for path in (tmp_path / CHECKPOINTS).iterdir() if path.name.isdigit()]


def test_who_reads_what_is_told_may_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `| tee log`, which the same Ctrl-C ends."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        monkeypatch.setattr("sys.stderr", nobody)
        monkeypatch.setattr("sys.stdout", nobody)
        with pytest.raises(KeyboardInterrupt):
            train.run(_pressed(omni(RARELY), 6), RARELY, tmp_path, "stopped")
        say("it is stopped")
        monkeypatch.undo()
        with suppress(BrokenPipeError):
            nobody.close()
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == ["00000007"]


def test_what_fails_because_of_it_is_an_interrupt(tmp_path: Path) -> None:
    """As compilers that hear it, too; but a mistake is told, and without it a failure is one."""
    for press, error, told in (
        (True, OSError("the compiler was stopped"), KeyboardInterrupt),
        (False, OSError("the disk is gone"), OSError),
        (True, UserError("No loss was a number."), UserError),
    ):
        with pytest.raises(told), heard_late(Place(), "mine"):
            if press:
                os.kill(os.getpid(), signal.SIGINT)
            raise error
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_listens_elsewhere_is_left_alone(tmp_path: Path, capsys) -> None:
    """A program that has a handler of its own keeps it."""
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        train.run(_pressed(omni(RARELY), 2), RARELY, tmp_path, "whole")
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT] and STOPS not in capsys.readouterr().err


def test_an_interrupt_in_the_last_evaluation_ends_the_run(tmp_path: Path) -> None:
    task = omni(RARELY)
    evaluate, asked = task.evaluate, list[int]()

    def pressed(module, done):
        if done == RARELY.steps:
            os.kill(os.getpid(), signal.SIGINT)
            asked.append(done)
        return evaluate(module, done)

    task.evaluate = pressed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train.run(task, RARELY, tmp_path, "stopped")
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == ["00000012"]
    assert asked == []  # all is saved by then: it ends at once
