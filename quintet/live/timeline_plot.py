"""A picture of a session: the five streams, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from quintet.config import STEPS_PER_SECOND
from quintet.live.session import StepOutput

# Label, the kinds of rows it counts, and whether they are output; top to bottom.
LANES = (
    ("text in", ("text_in",), False),
    ("image in", ("image_in",), False),
    ("audio in", ("audio_in",), False),
    ("text + image out", ("text_out", "image_out"), True),
    ("audio out", ("audio_out",), True),
)
COLOURS = {"text": "#3b6fd4", "image": "#e0872f", "audio": "#2f9e77"}


def plot_timeline(outputs: Sequence[StepOutput], path: Path) -> None:
    """Write a PNG: a lane for each stream, a bar for each step's rows, words where they appear,
    and the two heads' probability of `No Output` below."""
    steps = len(outputs)
    figure = Figure(figsize=(max(8.0, steps * 0.16), 4.8), layout="constrained")
    lanes, silence = figure.subplots(2, 1, height_ratios=[5, 1.3], sharex=True)
    for lane, (_, kinds, is_output) in enumerate(LANES):
        for out in outputs:
            # Input of a call belongs to the step before the one that its output is played in.
            left = out.step if is_output else out.step - 1
            _draw_cell(lanes, left, lane, {kind: out.counts[kind] for kind in kinds})
        lanes.axhline(lane + 0.5, color="#cccccc", linewidth=0.6)
    for out in outputs:
        if out.text.strip():
            words = "".join(c for c in out.text.strip() if c.isprintable())
            lanes.text(out.step + 0.1, 2.62, words, fontsize=7, color="#222222")
    lanes.set_yticks(range(len(LANES)), [label for label, _, _ in LANES])
    lanes.set_ylim(len(LANES) - 0.5, -0.5)
    lanes.set_xlim(0, steps + 1)
    lanes.set_title("the five streams; one column is a step of 250 ms", fontsize=10)
    at = [out.step + 0.5 for out in outputs]
    for index, label in enumerate(("text + image head", "audio head")):
        colour = COLOURS["text" if index == 0 else "audio"]
        values = [out.no_output[index] for out in outputs]
        silence.step(at, values, where="mid", label=label, color=colour, linewidth=1.2)
    silence.set_ylim(-0.05, 1.05)
    silence.set_ylabel("P(No Output)", fontsize=8)
    ticks = range(0, steps + 1, STEPS_PER_SECOND)
    silence.set_xticks(list(ticks), [f"{tick // STEPS_PER_SECOND} s" for tick in ticks])
    silence.legend(fontsize=7, loc="lower left")
    figure.savefig(path, dpi=110)


def _draw_cell(axes, left: int, lane: int, counts: dict[str, int]) -> None:  # type: ignore[no-untyped-def]
    """One step of one stream: split between its modalities by their rows."""
    total = sum(counts.values())
    drawn = 0.0
    for kind, count in counts.items():
        if count:
            width = 0.92 * count / total
            colour = COLOURS[kind.split("_")[0]]
            axes.barh(lane, width, 0.72, left + 0.04 + drawn, color=colour, linewidth=0)
            drawn += width
