"""A picture of a session: the five streams, step by step.

Everything is placed in inches, from the top left of the lanes, so that words and pictures keep
their size however long the session was.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

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
WORDS_LANE, SPEECH_LANE = 3, 4
COLOURS = {"text": "#3b6fd4", "image": "#e0872f", "audio": "#2f9e77"}
PALE = 0.6  # opacity of what was received; what was made is opaque
KEY = (("words", "text"), ("picture", "image"), ("sound", "audio"))
NOTE = "pale: what came in; words stand at their first step, pictures at their last"
# Of `No Output`: label, colour, line. Where they are one, the first shows between the dashes.
HEADS = (("text + image head", "text", "-"), ("audio head", "audio", "--"))
INK, EDGE, FAINT = "#222222", "#aaaaaa", "#dddddd"

STEP_WIDTH = 0.16
WIDTHS = (7.0, 120.0)  # of the lanes: least and most
CELL, GAP = 0.34, 0.09  # height of a lane's cells, and the space above and below them
LINE, CHARACTER, FONT_SIZE = 0.15, 0.068, 8  # of the words
LABEL_WIDTH, LABEL_LINES, WORD_ROWS = 3.4, 4, 12  # a message is wrapped; rows of words at most
THUMBNAIL = 0.8
SILENCE = 0.9  # height of the lower plot
KEY_LEFT = 3.8  # behind the title
LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 1.45, 0.25, 0.4, 0.65, 0.18


@dataclass(frozen=True)
class _Label:
    """The words of one message: where they stand, and from which row of words on."""

    left: float
    row: int
    lines: list[str]


def plot_timeline(outputs: Sequence[StepOutput], path: Path) -> None:
    """Write a PNG: a lane for each stream, a cell for each step's rows, the words where they
    begin, the pictures where they are finished, and the two heads' probability of `No Output`."""
    steps = len(outputs) + 1  # the output of the last input plays one step later
    width = min(max(WIDTHS[0], steps * STEP_WIDTH), WIDTHS[1])
    step_width = width / steps
    labels = _place_words(outputs, step_width, width)
    thumbnails = _place_pictures(outputs, step_width, width)
    words_height = LINE * max((label.row + len(label.lines) for label in labels), default=0)
    below = words_height + bool(labels) * GAP + bool(thumbnails) * (THUMBNAIL + GAP)
    extra = [below if lane == WORDS_LANE else 0.0 for lane in range(len(LANES))]
    tops = [GAP + lane * (CELL + 2 * GAP) + sum(extra[:lane]) for lane in range(len(LANES))]
    height = tops[-1] + CELL + GAP
    size = (LEFT + width + RIGHT, TOP + height + BETWEEN + SILENCE + BOTTOM)
    figure = Figure(figsize=size)

    def axes(bottom: float, tall: float) -> Axes:
        made = figure.add_axes((LEFT / size[0], bottom / size[1], width / size[0], tall / size[1]))
        made.set_xlim(0, width)
        made.spines[["top", "right", "left"]].set_visible(False)
        return made

    lanes, silence = axes(BOTTOM + SILENCE + BETWEEN, height), axes(BOTTOM, SILENCE)
    _draw_lanes(lanes, outputs, tops, step_width)
    words_top = tops[WORDS_LANE] + CELL + GAP
    for label in labels:
        top = words_top + label.row * LINE
        lanes.text(
            label.left, top, "\n".join(label.lines), fontsize=FONT_SIZE, color=INK, va="top",
            linespacing=LINE * 72 / FONT_SIZE / 1.2, parse_math=False, clip_on=False,
        )  # fmt: skip
    for left, picture in thumbnails:
        top = words_top + words_height + bool(labels) * GAP
        place = (left, left + THUMBNAIL, top + THUMBNAIL, top)
        lanes.imshow(picture, extent=place, aspect="auto", interpolation="nearest", zorder=3)
        # Most pictures stand on white, as does this one.
        frame = Rectangle((left, top), THUMBNAIL, THUMBNAIL, fill=False, color=EDGE, zorder=4)
        lanes.add_patch(frame)
    lanes.set_xlim(0, width)  # showing pictures has moved the limits
    lanes.set_ylim(height, 0)
    _draw_silence(silence, outputs, step_width)
    _mark_seconds(lanes, silence, step_width, steps)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks
        figure.savefig(path, dpi=110)


def _draw_lanes(
    lanes: Axes, outputs: Sequence[StepOutput], tops: Sequence[float], step_width: float
) -> None:
    for (_, kinds, is_output), top in zip(LANES, tops, strict=True):
        lanes.axhline(top - GAP, color=FAINT, linewidth=0.6)
        cells: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for out in outputs:
            # Input of a call belongs to the step before the one that its output is played in.
            left = (out.step if is_output else out.step - 1) * step_width
            total = sum(out.counts[kind] for kind in kinds)
            for kind in kinds:
                if out.counts[kind]:  # a cell is split between its modalities by their rows
                    share = 0.92 * step_width * out.counts[kind] / total
                    cells[kind].append((left + 0.04 * step_width, share))
                    left += share
        for kind, spans in cells.items():
            colour = COLOURS[kind.split("_")[0]]
            alpha = 1.0 if is_output else PALE
            lanes.broken_barh(spans, (top, CELL), color=colour, alpha=alpha, linewidth=0)
    _draw_speech(lanes, outputs, tops[SPEECH_LANE] + CELL / 2, step_width)
    lanes.set_yticks([top + CELL / 2 for top in tops], [label for label, _, _ in LANES])
    lanes.tick_params(axis="y", length=0)
    lanes.set_xticks([])
    lanes.spines["bottom"].set_visible(False)
    _draw_key(lanes)


def _draw_key(lanes: Axes) -> None:
    """The title, and behind it which colour is what."""
    title = "the five streams; one column is a step of 250 ms"
    lanes.set_title(title, fontsize=10, loc="left", color=INK)
    patches = [Rectangle((0, 0), 1, 1, color=COLOURS[kind], label=name) for name, kind in KEY]
    lanes.legend(
        handles=patches, fontsize=FONT_SIZE, loc="lower left", ncols=len(KEY), frameon=False,
        bbox_to_anchor=(KEY_LEFT / lanes.get_xlim()[1], 1.0), handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip


def _draw_speech(
    lanes: Axes, outputs: Sequence[StepOutput], middle: float, step_width: float
) -> None:
    """The loudness of the speech, over its cells."""
    bins = 12  # in a step
    loudness = [np.abs(out.audio.reshape(bins, -1)).max(1) for out in outputs]
    if not any(out.speaking for out in outputs):
        return
    envelope = np.concatenate(loudness)
    envelope = 0.42 * CELL * envelope / max(float(envelope.max()), 1e-3)
    at = (outputs[0].step + (np.arange(len(envelope)) + 0.5) / bins) * step_width
    heard = np.repeat([out.speaking or out.audio.any() for out in outputs], bins)
    lanes.fill_between(
        at, middle - envelope, middle + envelope, where=heard.tolist(), color="white", alpha=0.75,
        linewidth=0, zorder=3,
    )  # fmt: skip


def _draw_silence(axes: Axes, outputs: Sequence[StepOutput], step_width: float) -> None:
    """The two heads' probability of `No Output`."""
    first = outputs[0].step if outputs else 0
    edges = (first + np.arange(len(outputs) + 1)) * step_width
    for index, (label, kind, line) in enumerate(HEADS):
        values = [out.no_output[index] for out in outputs]
        axes.stairs(
            values, edges, baseline=None, label=label, color=COLOURS[kind], linestyle=line,
            linewidth=1.5,
        )  # fmt: skip
    axes.set_ylim(-0.05, 1.05)
    axes.set_yticks([0, 1])
    axes.set_ylabel("P(No Output)", fontsize=8)
    axes.legend(fontsize=7, loc="upper right", bbox_to_anchor=(1.0, -0.28), ncols=2, frameon=False)
    axes.text(
        0, -0.4, NOTE, fontsize=7, color=INK, va="top", transform=axes.transAxes, clip_on=False
    )


def _mark_seconds(lanes: Axes, silence: Axes, step_width: float, steps: int) -> None:
    """The time in seconds below, and a faint line upwards from each mark."""
    second = step_width * STEPS_PER_SECOND
    apart = next((n for n in (1, 2, 5, 10, 30, 60) if n * second >= 0.5), 300)  # seconds
    ticks = range(0, steps // STEPS_PER_SECOND + 1, apart)
    silence.set_xticks([tick * second for tick in ticks], [f"{tick} s" for tick in ticks])
    for axes in (lanes, silence):
        for tick in ticks:
            axes.axvline(tick * second, color=FAINT, linewidth=0.5, zorder=0)


def _place_words(outputs: Sequence[StepOutput], step_width: float, width: float) -> list[_Label]:
    """A label for each message at its first step, below those that it would run into."""
    messages: list[tuple[int, str]] = []
    open_message = False
    for out in outputs:
        words = "".join(c if c.isprintable() else " " for c in out.text)
        if words.strip() and not open_message:
            messages.append((out.step, words))
            open_message = True
        elif open_message:
            step, begun = messages[-1]
            messages[-1] = (step, begun + words)
        open_message = open_message and not out.text_ended
    ends = [0.0] * WORD_ROWS  # how far each row of words is taken
    labels = []
    for step, words in messages:
        lines = textwrap.wrap(
            words.strip(), int(LABEL_WIDTH / CHARACTER), max_lines=LABEL_LINES, placeholder=" …"
        )
        wide = max(len(line) for line in lines) * CHARACTER
        left = max(0.0, min(step * step_width, width - wide))
        free = (
            row
            for row in range(WORD_ROWS - len(lines) + 1)
            if all(end <= left for end in ends[row : row + len(lines)])
        )
        if (row := next(free, None)) is not None:  # more than so many at once are not readable
            ends[row : row + len(lines)] = [left + wide + CHARACTER] * len(lines)
            labels.append(_Label(left, row, lines))
    return labels


def _place_pictures(
    outputs: Sequence[StepOutput], step_width: float, width: float
) -> list[tuple[float, np.ndarray]]:
    """The left edge of each picture, at the step in which it is whole, or after the one before."""
    placed: list[tuple[float, np.ndarray]] = []
    for index, out in enumerate(outputs):
        if out.image is None or (not out.image_done and index + 1 < len(outputs)):
            continue  # there is none, or it is not finished yet, and the session goes on
        after = placed[-1][0] + THUMBNAIL + GAP if placed else 0.0
        left = max(after, min(out.step * step_width, width - THUMBNAIL))
        if left + THUMBNAIL <= width:
            placed.append((left, out.image))
    return placed
