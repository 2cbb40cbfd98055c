"""Who shares a command's work: what the options give, and what is told where there is no Ray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import run

from quintet.commands.sharing import workers_of
from quintet.commands.world import make_world
from quintet.config import UserError
from quintet.data.workers import Each, Here, Processes, WorkerDied


def test_a_single_process_is_this_one_unless_its_work_may_end_it() -> None:
    assert isinstance(workers_of(None, None, 1, apart=False), Here)
    assert workers_of(1, None, 2, apart=True) == Processes(1)
    assert workers_of(None, None, 2, apart=True) == Processes(2)
    assert workers_of(3, None, 1, apart=False) == Processes(3)


def test_without_ray_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "quintet.data.cluster", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run("world", "--out", tmp_path / "out", "--ray", "auto") == 2
    error = capsys.readouterr().err
    assert "quintet[cluster]" in error and len(error.splitlines()) == 1


def test_where_there_is_no_cluster_a_sentence_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray.data", reason="the extra cluster is not installed")
    for address, told in (
        ("127.0.0.1:1", "no Ray cluster at '127.0.0.1:1'"),
        ("nonsense", "no Ray cluster at 'nonsense'"),
        ("ray://127.0.0.1:10001", "run the command on a machine of the cluster"),
    ):
        assert run("world", "--out", tmp_path / "out", "--ray", address) == 2
        error = capsys.readouterr().err
        assert told in error and "Traceback" not in error


class _Dying(Here):
    """Workers who are killed at their first job."""

    @contextmanager
    def start(self, prepare: Callable[..., None], *given: Any) -> Iterator[Each]:
        def each(act: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[None]:
            raise WorkerDied

        yield each


def test_who_makes_scenes_and_is_killed_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="with fewer --processes"):
        make_world(tmp_path, 2, 0, "train", _Dying(), False, "nano")
