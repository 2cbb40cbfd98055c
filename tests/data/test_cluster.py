"""A cluster of two nodes makes what one process makes, and goes on when it loses some of itself."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cluster_jobs import act, act_until_lost, prepare
from conftest import needs_world, run
from raw import write_heap

from quintet.data.workers import WorkerDied

ray = pytest.importorskip("ray", reason="the extra cluster is not installed")
pytest.importorskip("ray.data", reason="the extra cluster is not installed")

from ray.cluster_utils import Cluster as Nodes  # noqa: E402

from quintet.data.cluster import Cluster, _quieten  # noqa: E402

NODE = {"num_cpus": 1, "object_store_memory": 100_000_000}
HEAD = NODE | {"include_dashboard": False, "include_log_monitor": False}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    folder = tempfile.mkdtemp(prefix="ray-")  # a short name: it holds sockets
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        known = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(known))  # where the jobs are
        both = Nodes(initialize_head=True, head_node_args=HEAD | {"temp_dir": folder})
        try:
            both.add_node(**NODE)
            yield both
        finally:
            ray.shutdown()
            both.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def _bytes(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_the_shards_are_those_of_one_machine_whatever_is_damaged(
    nodes: Nodes, tmp_path: Path, model_folder: Path
) -> None:
    write_heap(tmp_path / "heap")
    given = ["--model", model_folder, "--kind", "pretrain", "--rows", 64, "--documents", 3]
    for out, more in (("one", ["--processes", 1]), ("two", ["--ray", nodes.address])):
        assert run("tokenize", tmp_path / "heap", "--out", tmp_path / out, *given, *more) == 0
    made = _bytes(tmp_path / "two")
    assert made == _bytes(tmp_path / "one")
    assert len(made["skipped.jsonl"].splitlines()) == 7
    assert not ray.is_initialized()  # nothing stays behind
    (tmp_path / "two" / "reports" / "00001.json").unlink()  # as if stopped before it was made
    kept = (tmp_path / "two" / "pretrain" / "00000.safetensors").stat().st_mtime_ns
    assert run("tokenize", tmp_path / "heap", "--out", tmp_path / "two", *given, *more) == 0
    assert _bytes(tmp_path / "two") == made
    assert (tmp_path / "two" / "pretrain" / "00000.safetensors").stat().st_mtime_ns == kept


@needs_world
def test_the_scenes_are_those_of_one_machine(
    nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["world", "--scenes", 3, "--no-view", "--out"]
    assert run(*given, tmp_path / "one", "--seed", 11) == 0
    assert run(*given, tmp_path / "two", "--seed", 11, "--ray", nodes.address) == 0
    assert _bytes(tmp_path / "two") == _bytes(tmp_path / "one")
    capsys.readouterr()
    assert run(*given, tmp_path / "two", "--seed", 12, "--ray", nodes.address) == 2
    error = capsys.readouterr().err  # what a worker says is a sentence, too
    assert "name another folder with --out" in error and "Traceback" not in error


def test_a_killed_process_costs_only_what_ends_every_process(nodes: Nodes, tmp_path: Path) -> None:
    jobs = ["together 1", "together 2", "once", "always", "a", "b"]
    done = 0
    with (
        pytest.raises(WorkerDied),
        Cluster(nodes.address).start(prepare, tmp_path) as each,
    ):
        for _ in each(partial(act, tmp_path), jobs):
            done += 1
    assert done == 5
    assert {path.name for path in tmp_path.glob("done-*")} == {
        f"done-{job}" for job in jobs if job != "always"
    }
    begun = [path.name.split("-") for path in tmp_path.glob("begun-*")]
    assert len({node for _, job, node, _ in begun if job.startswith("together")}) == 2
    times = {job: sum(job == other for _, other, _, _ in begun) for job in jobs}
    assert times == dict.fromkeys(jobs, 1) | {"once": 2, "always": 2}


def test_a_lost_machine_costs_nothing(nodes: Nodes, tmp_path: Path) -> None:
    (second,) = nodes.worker_nodes
    act = partial(act_until_lost, tmp_path, second.node_id)
    with Cluster(nodes.address).start(prepare, tmp_path) as each:
        for done, _ in enumerate(each(act, range(6))):
            if done == 0:
                nodes.remove_node(second, allow_graceful=False)
    assert len(list(tmp_path.glob("done-*"))) == 6


def test_it_silences_rays_own_words_alone() -> None:
    log, mine = logging.getLogger("ray.data"), logging.StreamHandler()
    mine.setLevel(logging.INFO)
    log.addHandler(mine)
    try:
        _quieten()
        loud = [one for one in log.handlers if one.level < logging.CRITICAL]
        assert len(loud) < len(log.handlers), "Ray's own is there, and silent"
    finally:
        log.removeHandler(mine)
    assert mine in loud
    assert not any(type(one).__name__ == "PlainRayHandler" for one in loud)
