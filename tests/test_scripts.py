"""The scripts for clusters call torchrun and the command as these are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml
from torch.distributed.run import get_args_parser

from quintet.cli import commands

SCRIPTS = Path(__file__).parent.parent / "scripts"


def _check(command: list[str], nodes: str, out: str) -> None:
    assert command[0] == ".venv/bin/torchrun"
    values = get_args_parser().parse_args(command[1:])
    assert (values.nnodes, values.module, values.training_script) == (nodes, True, "quintet")
    name, *arguments = values.training_script_args
    context = commands.commands[name].make_context(name, arguments)
    assert context.params == {
        "recipe": "mine.toml", "stage": "pretrain", "runs": Path(out),
    }  # fmt: skip


def test_slurm(tmp_path: Path) -> None:
    """With programs of Slurm's names, of which one says what it was asked to start."""
    for name, line in {
        "scontrol": "echo first; echo second",
        "srun": 'printf "%s\\n" "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "machines", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7",
    }  # fmt: skip
    asked = ["bash", str(SCRIPTS / "slurm.sh"), "mine.toml", "pretrain"]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    started = done.stdout.splitlines()
    assert started.pop(0) == "--kill-on-bad-exit=1" and "--rdzv-endpoint=first:29500" in started
    _check(started, "2", environment.get("RUNS", "runs"))


def test_kubernetes() -> None:
    service, job = yaml.safe_load_all((SCRIPTS / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    command = pod["containers"][0]["command"]
    assert f"--rdzv-endpoint={job['metadata']['name']}-0.{pod['subdomain']}:29500" in command
    _check(command, str(job["spec"]["completions"]), "/runs")
