"""Samples on disk: one safetensors file holds many, columns end to end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from quintet.timeline.rows import Rows
from quintet.timeline.targets import Sample, join


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
    partial = path.with_name(path.name + ".partial")
    save_file(columns, partial)
    partial.replace(path)


def load_samples(path: Path) -> list[Sample]:
    """Read what `save_samples` wrote."""
    columns = load_file(path)
    ends = np.cumsum(columns["lengths"])
    samples = []
    for end, length in zip(ends, columns["lengths"], strict=True):
        part = {name: column[end - length : end] for name, column in columns.items()}
        rows = Rows(*(part[n] for n in ("stream", "modality", "tokens", "position", "step")))
        samples.append(Sample(rows, part["text_target"], part["audio_target"]))
    return samples
