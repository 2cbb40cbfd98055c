"""What runs the server knows it: the dashboard its metrics, the container its files and options."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from conftest import run

from quintet.cli import commands
from quintet.serve.metrics import TICK_CLASSES, Metrics

ROOT = Path(__file__).parent.parent.parent
NAME = re.compile(r"\b(?:quintet|process)_[a-z_]+")


def _exported() -> dict[str, set[str]]:
    """Names of all samples, and their labels."""
    found: dict[str, set[str]] = {}
    for line in Metrics(3).prometheus().splitlines():
        if not line.startswith("#"):
            sample = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? \S+", line)
            assert sample, line
            labels = re.findall(r'([a-z]+)="', sample[2] or "")
            found.setdefault(sample[1], set()).update(labels)
    return found


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    dashboard = json.loads((ROOT / "docs" / "dashboard.json").read_text(encoding="utf-8"))
    queries = [target for panel in dashboard["panels"] for target in panel["targets"]]
    exported = _exported()
    used = {name for query in queries for name in NAME.findall(query["expr"])}
    assert used == exported.keys()
    for query in queries:
        labels = set().union(*(exported[name] for name in NAME.findall(query["expr"])))
        shown = re.findall(r"\{\{(\w+)\}\}", query["legendFormat"])
        grouped = re.findall(r"by \((\w+)\)", query["expr"])
        assert set(shown) | set(grouped) <= labels | {"instance"}, query
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def test_ticks_are_counted_up_to_the_end_of_their_class() -> None:
    metrics = Metrics(1)
    for seconds in (0.01, TICK_CLASSES[0], 0.03, 7.0):
        metrics.record_tick(seconds)
    text = metrics.prometheus()
    for end, count in (("0.025", 2), ("0.05", 3), ("1.0", 3), ("+Inf", 4)):
        assert f'quintet_tick_seconds_bucket{{le="{end}"}} {count}\n' in text
    assert "quintet_tick_seconds_count 4\n" in text
    assert "quintet_tick_seconds_sum 7.065" in text


def test_metrics_tell_the_memory_and_that_the_server_stops() -> None:
    metrics = Metrics(1)
    metrics.draining = True
    values = dict(line.rsplit(" ", 1) for line in metrics.prometheus().splitlines())
    assert values["quintet_draining"] == "1"
    assert float(values["process_resident_memory_bytes"]) > 2**20


def test_replicas_do_not_record(tmp_path: Path, capsys) -> None:
    assert run("serve", "--replicas", 2, "--record", tmp_path / "new") == 2
    assert "--record" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


# ---- the container

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _lines(instruction: str) -> list[str]:
    return re.findall(rf"^\s*{instruction}\s+(.+)$", DOCKERFILE, re.MULTILINE)


def _ignored(path: str) -> bool:
    """What `.dockerignore` says of a path of the checkout; the last rule that fits counts."""
    ignored = False
    for rule in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        kept = rule.startswith("!")
        if rule and not rule.startswith("#") and fnmatch(path, rule.lstrip("!")):
            ignored = not kept
    return ignored


def test_the_container_copies_what_exists_and_gets_nothing_else() -> None:
    copied = [line.split()[:-1] for line in _lines("COPY") if not line.startswith("--from")]
    sources = {source for line in copied for source in line}
    assert all((ROOT / source).exists() for source in sources)
    assert {path.name for path in ROOT.iterdir() if not _ignored(path.name)} == sources
    named = {*PROJECT["license-files"], PROJECT["readme"], "pyproject.toml", "constraints.txt"}
    assert named | {"quintet"} == sources  # what building the package reads


def test_the_container_is_of_this_version() -> None:
    assert f'image.version="{PROJECT["version"]}"' in DOCKERFILE
    assert f'image.licenses="{PROJECT["license"]}"' in DOCKERFILE
    least = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    bases = re.findall(r"^FROM python:(\d+)\.(\d+)-", DOCKERFILE, re.MULTILINE)
    assert len(bases) == len(_lines("FROM")) == 2
    assert len(set(bases)) == 1 and tuple(map(int, bases[0])) >= least
    (install,) = (line for line in _lines("RUN") if "pip install" in line)
    assert "-c constraints.txt" in install


def test_the_container_starts_the_command_as_nobody_special() -> None:
    assert [user for user in _lines("USER")] == ["10001"]
    assert not re.search(r"(?i)(key|secret|token|password)\s*=", DOCKERFILE)
    name, serve, *rest = (
        word for line in ("ENTRYPOINT", "CMD") for word in json.loads(_lines(line)[-1])
    )
    assert (name, serve) == ("quintet", "serve")
    options = commands.commands["serve"].make_context("serve", rest).params
    assert options["host"] == "0.0.0.0"
    assert options["drain"] < 10  # then `docker stop` kills
    assert _lines("EXPOSE") == [str(options["port"])]
    assert f"http://127.0.0.1:{options['port']}/health" in DOCKERFILE
