"""A file appears whole or not at all, also where others write the same one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quintet.whole_file import whole_file


def test_it_takes_the_place_of_the_older_one_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"older")
    with whole_file(path) as file:
        file.write(b"newer")
        file.flush()
        assert path.read_bytes() == b"older"
    assert path.read_bytes() == b"newer" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_it_may_be_used_by_those_whom_the_umask_lets(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        for asked, given in ((0o666, mode), (0o600, 0o600)):
            with whole_file(tmp_path / "a.txt", asked):
                pass
            assert (tmp_path / "a.txt").stat().st_mode & 0o777 == given
    finally:
        os.umask(before)


@pytest.mark.parametrize("end", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_leaves_the_older_one(end: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"older")
    with pytest.raises(end), whole_file(path) as file:
        file.write(b"newer")
        raise end
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]


def test_what_the_killed_have_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    left, others = tmp_path / ".a.txt.killed.partial", tmp_path / ".b.txt.killed.partial"
    for partial in (left, others):
        partial.write_bytes(b"ha")
        os.utime(partial, (0, 0))
    with whole_file(path) as first:
        assert not left.exists()
        (mine,) = tmp_path.glob(".a.txt.*.partial")
        os.utime(mine, (0, 0))
        with whole_file(path):  # it is being written: no leftover
            assert mine.exists()
        first.write(b"whole")
    assert path.read_bytes() == b"whole" and set(tmp_path.iterdir()) == {path, others}


def test_two_who_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as first:
        first.write(b"fir")
        with whole_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"st")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]
