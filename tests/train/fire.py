"""`quintet train` in a process of its own, which is killed: at any moment between two changes to
the file system, in the middle of writing a file, or by the clock.

Processes are forked from one that has imported everything, which is most of what a start costs.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quintet.cli import main

PRELOADED = ["quintet.cli", "quintet.live.pretrained", "quintet.stages.recipe",
             "quintet.stages.realtime", "quintet.stages.audio_decoder", "quintet.stages.judges",
             "quintet.stages.image_tokenizer", "quintet.stages.release", "quintet.train.plots",
             "quintet.train.checkpoint", "quintet.train.parallel", "pytest"]  # fmt: skip
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "shutil.rmtree"}
KEPT = {".safetensors", ".model", ".json", ".npy", ".f16", ".u8", ".md"}
DEATHS = {-signal.SIGKILL, -signal.SIGXFSZ}


@dataclass(frozen=True)
class Death:
    """When a process dies: at the `count`-th change whose text `pattern` finds; or, with
    `half_bytes`, from there on at the first write beyond so many bytes of a file, of which it
    leaves the first half. Without `count` it lives, unless `seconds` end it from outside."""

    count: int = 0
    pattern: str = ""
    half_bytes: int | None = None
    seconds: float | None = None


ALIVE = Death()


@dataclass(frozen=True)
class End:
    """How a process ended, and what it had done."""

    exitcode: int
    changes: int
    seconds: float
    errors: str

    @property
    def died(self) -> bool:
        return self.exitcode in DEATHS


def random_death(rng: random.Random, changes: int, seconds: float) -> Death:
    """At one of so many changes, or within so many seconds: always so, where helpers make the
    changes."""
    if rng.random() < 0.25 or changes < 10:
        return Death(seconds=rng.uniform(0, seconds))
    half = round(math.exp(rng.uniform(0, 8))) if rng.random() < 0.5 else None
    return Death(rng.randrange(1, changes + 1), half_bytes=half)


def train(
    recipe: Path,
    runs: Path,
    stage: str | None = None,
    death: Death = ALIVE,
    meanwhile: Callable[[int], None] | None = None,
) -> End:
    """Run `quintet train` to its end, or to `death`; `meanwhile` is told its process id, and the
    seconds count from when it returns."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    arguments = ["train", str(recipe), "--out", str(runs)]
    arguments += ["--stage", stage] if stage else []
    changes, errors = context.Value("i", 0), runs.with_suffix(".errors")
    process = context.Process(target=_train, args=(arguments, death, changes, str(errors)))
    started = time.monotonic()
    process.start()
    if meanwhile is not None:
        assert process.pid is not None
        meanwhile(process.pid)
    process.join(death.seconds)
    process.kill()  # no more than a word to one that has ended
    process.join()
    assert process.exitcode is not None
    seconds = time.monotonic() - started
    return End(process.exitcode, changes.value, seconds, errors.read_text(errors="replace"))


def _train(arguments: list[str], death: Death, changes: Any, errors: str) -> None:
    for name, number, flags in ((os.devnull, 1, os.O_WRONLY),
                                (errors, 2, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):  # fmt: skip
        os.dup2(os.open(name, flags), number)
    left = death.count

    def watch(event: str, details: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in CHANGES and not (event == "open" and _writes(details)):
            return
        changes.value += 1
        if left and re.search(death.pattern, f"{event} {details[:2]}"):
            left -= 1
            if not left:
                _die(death.half_bytes)

    sys.addaudithook(watch)
    try:
        main(arguments)
    except SystemExit as end:
        os._exit(int(end.code or 0))  # type: ignore[arg-type]
    os._exit(0)


def _writes(details: tuple[Any, ...]) -> bool:
    path, mode, flags = details
    if isinstance(path, int) or str(path).startswith(("/dev/", "/proc/")):
        return False
    return bool(set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR))


def _die(half_bytes: int | None) -> None:
    """At once, or by the kernel's hand in the first write that goes beyond a file's size."""
    if half_bytes is None:
        os.kill(os.getpid(), signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (half_bytes or 0, resource.RLIM_INFINITY))


TIMED = {"seconds", "waiting"}  # of a line of the log: nothing that repeats


def results(run: Path) -> dict[str, Any]:
    """All that must be the same however often a run was killed, by name: the losses, the weights
    and other exports, the scores."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = str(path.relative_to(run))
        if path.name == "log.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: line[k] for k in line.keys() - TIMED} for line in lines]
        elif path.suffix in KEPT and path.name not in ("about.json", "stats.json"):
            found[name] = path.read_bytes()
    return found


def leftovers(run: Path) -> list[str]:
    """What is named as unfinished."""
    names = (path for pattern in ("*partial*", ".tmp*") for path in run.rglob(pattern))
    return [str(path.relative_to(run)) for path in names]
