"""Media -> rows: documents and live scenes become shards, once, before the transformer trains.

Every shard is a pure function of the seed and its number, so processes share the work, and a
run that was killed goes on with the shards that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from quintet.config import UserError, counted
from quintet.data.documents import (
    DocumentMaker,
    Material,
    audio_samples,
    counting_samples,
    describe_samples,
    instruct_samples,
    pretrain_samples,
    reasoning_samples,
    speaker_samples,
    transcribe_samples,
    unfrozen_samples,
)
from quintet.data.preferences import FORMS, Form, preference_samples
from quintet.data.scene_rows import SceneEncoder
from quintet.data.script_documents import script_samples
from quintet.data.shards import load_samples, save_samples
from quintet.data.workers import start_pool
from quintet.data.world.encounters import make_encounter
from quintet.data.world.scenes import Scene, make_scene
from quintet.data.world.seeds import seeds_of
from quintet.data.world.sights import make_sights
from quintet.settings import Count, Natural, Seed
from quintet.stages.context import Context
from quintet.stages.omni_task import tokenizers_of
from quintet.timeline.streams import Modality
from quintet.timeline.targets import Sample

MAKERS: dict[str, Callable[[DocumentMaker, int, int], list[Sample]]] = {
    "pretrain": pretrain_samples,
    "audio": audio_samples,
    "unfrozen": unfrozen_samples,
    "instruct": instruct_samples,
    "instruct_speakers": speaker_samples,
    "transcribe": transcribe_samples,
    "describe": describe_samples,
    "counting_turns": counting_samples,
    "scripts": script_samples,
    "reasoning": reasoning_samples,
    "reasoning_test": partial(reasoning_samples, split="test"),
}


def make_spoken(seed: int, split: str) -> Scene:
    """A short scene or an encounter, by turns, in which the assistant has another's voice."""
    make = (make_scene, make_encounter)[seed % 2]
    return make(seed, split, other_speaker=True)


INTERRUPTION_KINDS = ("interruption", "backchannel")
MOMENT_KINDS = (*INTERRUPTION_KINDS, "hesitation", "watch")  # what is learned last


def make_moment(seed: int, split: str) -> Scene:
    """An encounter of one or two events, in which to wait one's turn is not enough."""
    return make_encounter(seed, split, MOMENT_KINDS)


def make_interruption(seed: int, split: str) -> Scene:
    """An encounter of one or two events, in each of which somebody speaks while the assistant does:
    to stop it, to ask something else, or to agree."""
    return make_encounter(seed, split, INTERRUPTION_KINDS)


SCENES: dict[str, tuple[Callable[[int, str], Scene], str]] = {  # live ones, of which split
    "realtime": (make_scene, "train"),
    "realtime_test": (make_scene, "test"),
    "encounters": (make_encounter, "train"),
    "encounters_test": (make_encounter, "test"),
    "speakers": (make_spoken, "train"),
    "moments": (make_moment, "train"),
    "interruptions": (make_interruption, "train"),
    "sights": (make_sights, "train"),
    "counting": (partial(make_sights, kinds=("how_many",)), "train"),
}
PREFERENCES = "preferences"  # of which a shard holds `shard_size` pairs
KINDS = (*MAKERS, *SCENES, PREFERENCES)
SETTINGS = {
    "seed": Seed, "shards": dict[str, Natural], "shard_size": Count, "pictures_each": Count,
    "processes": Count, "forms": tuple[Form, ...],
}  # fmt: skip
PICTURES_EACH = 200  # of every thing, as a camera sees it
SHARD_SIZE = 250  # samples
HELD_OUT = 256  # samples of a kind, unless the stage says otherwise
APART = 1_000_000  # seeds of scenes and shards, where the setting `seed` differs by one


def check(context: Context) -> None:
    """Whether the scenes that the settings ask for are in no other set.

    Raises:
        UserError: there are not so many.
    """
    settings = context.settings
    first, size = settings.get("seed", 0) * APART, settings.get("shard_size", SHARD_SIZE)
    for kind, count in settings.get("shards", {}).items():
        if kind in SCENES:
            seeds_of(kind, first, count * size)


def shard_path(folder: Path, kind: str, index: int) -> Path:
    return folder / kind / f"{index:05d}.safetensors"


class _Worker:
    """Makes shards in one process; tokenizers and material are loaded once."""

    def __init__(self, context: Context) -> None:
        torch.set_num_threads(1)
        self.context, self.seed = context, int(context.settings.get("seed", 0))
        self.size = int(context.settings.get("shard_size", SHARD_SIZE))
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
            make, split = SCENES[kind]
            seeds = seeds_of(kind, self.seed * APART + index * self.size, self.size)
            samples = [self.scenes.sample(make(seed, split)) for seed in seeds]
        else:
            make_samples = self._preferences if kind == PREFERENCES else MAKERS[kind]
            if self.maker is None:
                preset = self.context.preset
                material = Material.make(preset, self.tokenizers, self.each, self.seed)
                self.maker = DocumentMaker(preset, self.tokenizers, material)
            samples = make_samples(self.maker, self.size, self.seed * APART + index)
        save_samples(path, samples)

    def _preferences(self, maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
        """`count` pairs, of which the live ones need scenes."""
        forms = self.context.settings.get("forms") or FORMS
        return preference_samples(maker, self.scenes, count, seed, forms)


_worker: _Worker


def _start(context: Context) -> None:
    global _worker
    _worker = _Worker(context)


def _make(job: tuple[str, int]) -> None:
    _worker.make(job)


def run(context: Context) -> dict[str, float]:
    """Make the shards that the settings ask for and that are not there yet."""
    shards: dict[str, int] = context.settings.get("shards", {})
    jobs = [(kind, index) for kind, count in shards.items() for index in range(count)]
    jobs = [j for j in jobs if not shard_path(context.folder, *j).exists()]
    if jobs:
        tokenizers_of(context)  # what is missing is told here, not by a process that dies
        in_processes(context, jobs, _start, _make)
    return {f"{kind}_shards": float(count) for kind, count in shards.items()}


def in_processes(
    context: Context,
    jobs: Sequence[Any],
    start: Callable[[Context], None],
    make: Callable[[Any], None],
) -> None:
    """Do `jobs` in as many processes as the stage's setting says; each begins with `start`.

    Raises:
        UserError: one was killed.
    """
    with start_pool(int(context.settings.get("processes", 2)), start, context) as pool:
        try:
            for _ in track(pool.map(make, jobs), context.name, total=len(jobs)):
                pass
        except BrokenProcessPool:
            raise UserError(
                f"A process of the stage {context.name!r} was killed, perhaps for want of memory; "
                "run it again, which keeps what is made, with a lower 'processes'."
            ) from None


def samples_of(context: Context, kind: str) -> list[Sample]:
    """Samples of a kind that a stage of documents made, in order.

    The setting `documents` of the stage may name which; `shards`, how many shards of each kind,
    otherwise all.

    Raises:
        UserError: there are fewer.
    """
    shard = context.made_by(context.documents, f"{kind}/00000.safetensors")
    shards = sorted(shard.parent.glob("*.safetensors"))
    count = context.settings.get("shards", {}).get(kind, len(shards))
    if count > len(shards):
        raise UserError(
            f"Stage {context.name!r} asks for {counted(count, 'shard')} of {kind!r} and finds "
            f"{len(shards)}; ask for fewer, or let the stage {context.documents!r} make more."
        )
    samples = [sample for path in shards[:count] for sample in load_samples(path)]
    check_preset(context, samples, shard.parent)
    return samples


def check_preset(context: Context, samples: list[Sample], folder: Path) -> None:
    audio, entries = context.preset.audio, context.preset.text_image_vocab_size
    for sample in samples:
        rows = sample.rows
        is_sound = rows.modality == Modality.AUDIO
        if (
            rows.tokens.shape[1] != audio.num_codebooks
            or rows.tokens[is_sound].max(initial=0) >= audio.codebook_size
            or rows.tokens[~is_sound].max(initial=0) >= entries
        ):
            raise UserError(
                f"The samples in {folder} were made with another preset than "
                f"{context.preset.name!r}; restore it, or delete that folder's parent and those "
                "of the tokenizers to make them again."
            )


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
    kept = max(0, len(samples) - int(context.settings.get("held_out", HELD_OUT)))
    training, held_out = samples[:kept] + mixed_in(context, kind), samples[kept:]
    check_counts(context, len(training), len(held_out))
    return training, held_out


def check_counts(context: Context, training: int, held_out: int) -> None:
    """Whether so many samples make batches, of training and of evaluation.

    Raises:
        UserError: they do not fill one.
    """
    size = context.train.batch_size
    for count, what in ((training, "to train on"), (held_out, "kept out of training")):
        if count < size:
            raise UserError(
                f"Stage {context.name!r} has batch_size = {size} and "
                f"{counted(count, 'sample')} {what}; lower batch_size, set held_out between, or "
                "make more documents."
            )
