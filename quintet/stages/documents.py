"""Media -> rows: documents and live scenes become shards, once, before the transformer trains.

Every shard is a pure function of the seed and its number, so processes share the work, and a
run that was killed goes on with the shards that are missing.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from rich.progress import track

from quintet.config import UserError
from quintet.data.documents import (
    DocumentMaker,
    Material,
    audio_samples,
    describe_samples,
    instruct_samples,
    pretrain_samples,
    reasoning_samples,
    transcribe_samples,
    unfrozen_samples,
)
from quintet.data.scene_rows import SceneEncoder
from quintet.data.shards import load_samples, save_samples
from quintet.data.world.scenes import make_scene
from quintet.stages.context import Context
from quintet.stages.omni_task import tokenizers_of
from quintet.timeline.targets import Sample

MAKERS: dict[str, Callable[[DocumentMaker, int, int], list[Sample]]] = {
    "pretrain": pretrain_samples,
    "audio": audio_samples,
    "unfrozen": unfrozen_samples,
    "instruct": instruct_samples,
    "transcribe": transcribe_samples,
    "describe": describe_samples,
    "reasoning": reasoning_samples,
    "reasoning_test": partial(reasoning_samples, split="test"),
}
SCENES = {"realtime": "train", "realtime_test": "test"}  # kinds of live scenes, of which split
KINDS = (*MAKERS, *SCENES)
SETTINGS = {
    "seed": int, "shards": dict[str, int], "shard_size": int, "pictures_each": int,
    "processes": int,
}  # fmt: skip
PICTURES_EACH = 200  # of every thing, as a camera sees it
HELD_OUT = 256  # samples of a kind, unless the stage says otherwise
HELD_OUT_SEED = 50_000_000  # the seeds of test scenes begin here


def shard_path(folder: Path, kind: str, index: int) -> Path:
    return folder / kind / f"{index:05d}.safetensors"


class _Worker:
    """Makes shards in one process; tokenizers and material are loaded once."""

    def __init__(self, context: Context) -> None:
        torch.set_num_threads(1)
        self.context, self.seed = context, int(context.settings.get("seed", 0))
        self.size = int(context.settings.get("shard_size", 250))
        tokenizers = tokenizers_of(context)
        self.scenes = SceneEncoder(context.preset, tokenizers)
        each = int(context.settings.get("pictures_each", PICTURES_EACH))
        self.tokenizers, self.each = tokenizers, each
        self.maker: DocumentMaker | None = None

    def make(self, job: tuple[str, int]) -> None:
        kind, index = job
        path = shard_path(self.context.folder, kind, index)
        if path.exists():
            return
        if kind in SCENES:
            split = SCENES[kind]
            first = index * self.size + self.seed * 1_000_000
            first += HELD_OUT_SEED if split == "test" else 0
            samples = [self.scenes.sample(make_scene(first + i, split)) for i in range(self.size)]
        else:
            make_samples = MAKERS[kind]
            if self.maker is None:
                preset = self.context.preset
                material = Material.make(preset, self.tokenizers, self.each, self.seed)
                self.maker = DocumentMaker(preset, self.tokenizers, material)
            samples = make_samples(self.maker, self.size, self.seed * 1_000_000 + index)
        save_samples(path, samples)


_worker: _Worker


def _start(context: Context) -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(context)


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers, which would go on making its shards."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make(job: tuple[str, int]) -> None:
    _worker.make(job)


def run(context: Context) -> dict[str, float]:
    """Make the shards that the settings ask for and that are not there yet."""
    shards: dict[str, int] = context.settings.get("shards", {})
    jobs = [(kind, index) for kind, count in shards.items() for index in range(count)]
    jobs = [j for j in jobs if not shard_path(context.folder, *j).exists()]
    if jobs:
        tokenizers_of(context)  # what is missing is told here, not by a process that dies
        processes = int(context.settings.get("processes", 2))
        with ProcessPoolExecutor(
            processes, multiprocessing.get_context("spawn"), _start, (context,)
        ) as pool:
            for _ in track(pool.map(_make, jobs), "documents", total=len(jobs)):
                pass
    return {f"{kind}_shards": float(count) for kind, count in shards.items()}


def samples_of(context: Context, kind: str) -> list[Sample]:
    """Samples of a kind that the documents stage made, in order.

    The setting `shards` of the stage may say how many shards of each kind; otherwise all.

    Raises:
        UserError: there are fewer.
    """
    shard = context.made_by("documents", f"{kind}/00000.safetensors")
    shards = sorted(shard.parent.glob("*.safetensors"))
    count = context.settings.get("shards", {}).get(kind, len(shards))
    if count > len(shards):
        raise UserError(
            f"Stage {context.name!r} asks for {count} shards of {kind!r} and there are "
            f"{len(shards)}; ask for fewer, or let the stage 'documents' make more."
        )
    return [sample for path in shards[:count] for sample in load_samples(path)]


def mixed_in(context: Context, kind: str) -> list[Sample]:
    """Samples of every kind but `kind` that the setting `shards` of the stage names.

    What an earlier stage taught is forgotten unless some of it stays in the mixture.
    """
    others = [other for other in context.settings.get("shards", {}) if other != kind]
    return [sample for other in others for sample in samples_of(context, other)]


def training_and_held_out(context: Context, kind: str) -> tuple[list[Sample], list[Sample]]:
    """Samples of `kind` and what is mixed in; and the last ones of `kind`, kept out of training.

    The setting `held_out` of the stage says how many.
    """
    samples = samples_of(context, kind)
    kept = len(samples) - int(context.settings.get("held_out", HELD_OUT))
    return samples[:kept] + mixed_in(context, kind), samples[kept:]
