"""A picture of a run, drawn from its log: losses, held-out losses, gradient norm, learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quintet.whole_file import whole_file

POINTS = 300  # of a curve; a longer one is drawn as means, with the range around them
NOT_LOSSES = {"step", "loss", "gradient_norm", "learning_rate", "seconds", "rows", "waiting"}
HELD_OUT = "eval/"
INK, BAD = "#222222", "#c23b3b"

Line = dict[str, Any]


def plot_losses(lines: Sequence[Line], path: Path, title: str) -> None:
    """Write a PNG of a log's lines. Steps whose loss is no number are marked on the axis."""
    steps = [line for line in lines if "gradient_norm" in line]
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    ((loss, parts), (norm, rate)) = figure.subplots(2, 2, sharex=True)
    _curve(loss, steps, "loss", INK)
    _held_out(loss, lines, "loss", BAD)
    loss.set_title("loss, and on what is kept out of training")
    names = sorted({key for line in steps for key in line if _is_part(key, line)})
    for index, name in enumerate(names):
        _curve(parts, steps, name, f"C{index % 10}")
        _held_out(parts, lines, name, f"C{index % 10}")
    parts.set_title("parts of it")
    _curve(norm, steps, "gradient_norm", INK)
    norm.set_title("norm of the gradient, before clipping")
    _curve(rate, steps, "learning_rate", INK)
    rate.set(title="learning rate", ylim=(0, None))
    bad = [line["step"] for line in steps if not _is_number(line["loss"])]
    for axis in (loss, parts, norm):
        _scale(axis)
        axis.plot(bad, [0.02] * len(bad), "|", color=BAD, transform=axis.get_xaxis_transform())
    for axis in (norm, rate):
        axis.set_xlabel("step")
    if names:
        parts.legend(fontsize=8, frameon=False, ncols=2)
    figure.suptitle(title)
    with whole_file(path) as file:
        figure.savefig(file, dpi=80, format="png")


def _is_part(name: str, line: Line) -> bool:
    return name not in NOT_LOSSES and isinstance(line[name], float)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _values(lines: Sequence[Line], name: str) -> np.ndarray:
    """[N, 2]: steps and the numbers that stand there."""
    found = [(line["step"], line[name]) for line in lines if _is_number(line.get(name))]
    return np.array(found, np.float64).reshape(-1, 2)


def _curve(axis: Axes, lines: Sequence[Line], name: str, colour: str) -> None:
    values_N2 = _values(lines, name)
    if not len(values_N2):
        return
    groups = np.array_split(values_N2, min(POINTS, len(values_N2)))
    steps = [group[:, 0].mean() for group in groups]
    axis.plot(steps, [group[:, 1].mean() for group in groups], color=colour, lw=1.2, label=name)
    if len(values_N2) > POINTS:
        least, most = ([f(group[:, 1]) for group in groups] for f in (np.min, np.max))
        axis.fill_between(steps, least, most, color=colour, alpha=0.15, lw=0)


def _held_out(axis: Axes, lines: Sequence[Line], name: str, colour: str) -> None:
    values_N2 = _values(lines, HELD_OUT + name)
    axis.plot(*values_N2.T, "o:", color=colour, ms=4, lw=1)


def _scale(axis: Axes) -> None:
    """By logarithm, where that shows more: all is positive, and the range is wide."""
    drawn = [np.asarray(line.get_ydata(), np.float64) for line in axis.get_lines()]
    values = np.concatenate([*drawn, np.zeros(0)])
    if len(values) and values.min() > 0 and values.max() > 20 * values.min():
        axis.set_yscale("log")
    axis.grid(alpha=0.25)
