"""Samples on disk: one safetensors file holds many, columns end to end, and a digest of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from quintet.config import UserError
from quintet.media.whole_file import whole_file
from quintet.timeline.rows import Rows
from quintet.timeline.targets import Sample, join

DIGEST = "sha256"  # in the file's metadata; older files have none


def save_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write atomically; codes and targets fit 32 bits, most columns 16 or 8."""
    whole = join(list(samples))
    columns = {
        "stream": whole.rows.stream,
        "modality": whole.rows.modality,
        "tokens": whole.rows.tokens,
        "position": whole.rows.position,
        "step": whole.rows.step,
        "text_target": whole.text_target,
        "audio_target": whole.audio_target,
        "lengths": np.array([len(sample) for sample in samples], np.int32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(save(columns, {DIGEST: _digest(columns)}))


def load_samples(path: Path) -> list[Sample]:
    """Read what `save_samples` wrote; every sample knows where it comes from.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with safe_open(path, "np") as file:
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            written = (file.metadata() or {}).get(DIGEST)
    except SafetensorError:
        columns, written = {}, "damaged"
    if written is not None and written != _digest(columns):
        raise UserError(
            f"{path} is damaged; delete it, and scores.json of its stage, and run that stage again "
            "(quintet train RECIPE --stage documents), which makes what is missing."
        )
    shard = f"{path.parent.name}/{path.name}"
    ends = np.cumsum(columns["lengths"])
    samples = []
    for index, (end, length) in enumerate(zip(ends, columns["lengths"], strict=True)):
        part = {name: column[end - length : end] for name, column in columns.items()}
        rows = Rows(*(part[n] for n in ("stream", "modality", "tokens", "position", "step")))
        samples.append(Sample(rows, part["text_target"], part["audio_target"], (shard, index)))
    return samples


def _digest(columns: dict[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name in sorted(columns):
        total.update(f"{name} {columns[name].dtype} {columns[name].shape}".encode())
        total.update(np.ascontiguousarray(columns[name]).data)
    return total.hexdigest()
