"""What is installed works by itself: nothing that a person meets stays behind in the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTICES = ROOT / "THIRD_PARTY.md"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout or taken from an older build."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "quintet", source / "quintet", ignore=_caches)
    for name in ("pyproject.toml", "README.md", *PROJECT["license-files"]):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """Where the wheel's files lie, far from the checkout."""
    folder = wheel.parent / "installed"
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def _caches(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__"}


def _python(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=installed.parent, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    files = {path for path in (ROOT / "quintet").rglob("*") if path.is_file()}
    ours = {str(p.relative_to(ROOT)) for p in files if "__pycache__" not in p.parts}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in held if name.startswith("quintet/")} == ours
    notices = {name.rpartition("/")[2] for name in held if "/licenses/" in name}
    assert notices == set(PROJECT["license-files"])


def test_what_is_installed_starts_and_loads_nano(installed: Path) -> None:
    done = _python(installed, "-m", "quintet", "--help")
    assert done.returncode == 0 and "serve" in done.stdout, done.stderr
    code = (
        "import quintet; from pathlib import Path; from quintet.serve.app import PAGE;"
        "print(quintet.__file__, quintet.load('nano').model.config.name, "
        "(PAGE / 'index.html').is_file())"
    )
    done = _python(installed, "-c", code)
    assert done.stdout.split() == [str(installed / "quintet/__init__.py"), "nano", "True"], done


def test_what_is_installed_finds_its_recipes_and_misses_its_benchmarks(installed: Path) -> None:
    done = _python(installed, "-m", "quintet", "train", "tiny", "--stage", "none")
    assert done.returncode == 2 and "tiny has no stage 'none'" in done.stderr
    done = _python(installed, "-m", "quintet", "bench", "decode")
    assert done.returncode == 2 and "run this in a checkout" in done.stderr


def test_the_extras_that_are_told_are_there(wheel: Path) -> None:
    """Those of the changelog, and no other, by their names in what pip reads."""
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    told = re.search(r"^- Extras: (.*?)(?=\n\n|\n- )", changes, re.MULTILINE | re.DOTALL)
    assert told and set(re.findall(r"`(\w+)`", told[1])) == set(PROJECT["optional-dependencies"])
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        offered = re.findall(r"^Provides-Extra: (\w+)$", files.read(name).decode(), re.MULTILINE)
    assert set(offered) == set(PROJECT["optional-dependencies"])


def test_every_dependency_is_told_in_the_notices() -> None:
    extras = PROJECT["optional-dependencies"]
    asked = [PROJECT["dependencies"], *(extras[name] for name in sorted(extras))]
    names = {re.split(r"[<>=\[]", line)[0] for lines in asked for line in lines} - {"quintet"}
    told = set(re.findall(r"^\| ([\w-]+) \|", NOTICES.read_text(encoding="utf-8"), re.MULTILINE))
    assert names <= told, sorted(names - told)


def test_the_version_is_told_in_the_changelog_and_the_citation() -> None:
    version = PROJECT["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(version)}\b", changes, re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {version}\n" in citation
