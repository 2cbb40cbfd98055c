"""The README says what is so: its commands exist and are called as it says, the quick ones run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import run
from torch.distributed.run import get_args_parser

from quintet.cli import commands
from quintet.media.audio import write_audio
from quintet.media.images import write_image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Lines of a terminal, without what is said of them.
LINES = [line.split("  #")[0].split("#")[0].strip()
         for line in re.findall(r"^    (\.venv/bin/.*)$", README, re.MULTILINE)]  # fmt: skip
QUICK = {"talk", "plan"}  # seconds each; others are only read as the command would read them


def test_commands_exist() -> None:
    named = set(re.findall(r"quintet ([a-z]+)", README)) & set(commands.commands)
    assert named == set(commands.commands)  # each is told
    assert set(re.findall(r"`quintet ([a-z]+)", README)) <= named  # and no other


@pytest.mark.parametrize("line", LINES)
def test_the_line_runs_or_could(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line)
    if words[0] == ".venv/bin/torchrun":
        words = get_args_parser().parse_args(words[1:]).training_script_args
    else:
        assert words.pop(0) == ".venv/bin/quintet"
    name, *arguments = words
    if name not in QUICK:
        commands.commands[name].make_context(name, arguments)
        return
    monkeypatch.chdir(tmp_path)
    write_audio("question.wav", np.zeros(6_000, np.float32))
    Path("rocket").mkdir()
    write_image("rocket/picture-0.png", np.full((48, 48, 3), 200, np.uint8))
    assert run(*words) == 0


def test_the_benchmarks_exist() -> None:
    named = set(re.findall(r"`quintet bench ([a-z-]+)`", README))
    (what,) = (p for p in commands.commands["bench"].params if p.name == "what")
    assert named and named <= set(what.type.choices)


def test_the_tree_names_every_folder() -> None:
    tree = README.split("## How it is laid out")[1]
    for folder in (ROOT / "quintet").iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            assert f" {folder.name}/ " in tree, folder.name


def test_pictures_and_pages_are_there() -> None:
    for target in re.findall(r"\]\(((?:docs|scripts)/[^)#]*)", README):
        assert (ROOT / target).is_file(), target
