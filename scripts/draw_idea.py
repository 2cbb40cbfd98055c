"""The idea in pictures, drawn from the code itself: `python -m scripts.draw_idea`.

Rows, order, masks, questions and slots are what `quintet.timeline` and the cache say of one small
scene; nothing of them is written down here. A test draws them again and compares.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from quintet.config import AudioConfig, ModelConfig
from quintet.model.cache import FREE, KVCache
from quintet.timeline.masks import live_mask
from quintet.timeline.rows import Rows, concatenate
from quintet.timeline.streams import STREAMS, Modality, Stream
from quintet.timeline.targets import NOT_ASKED, Sample, Vocabulary, live_sample
from quintet.timeline.timeline import Timeline, live_rank, speaker_rows
from scripts.scene_drawing import (
    BUDGET,
    CODEBOOK,
    COLOURS,
    FAINT,
    FRAMES,
    GREY,
    INK,
    LANES,
    PICTURE_OUT,
    STEPS,
    WORDS,
    Drawing,
    colour,
    make_scene,
    sign,
)

FOLDER = Path(__file__).parent.parent / "docs" / "idea"
VOCABULARY = Vocabulary(len(WORDS) + CODEBOOK, CODEBOOK)
NO_OUTPUT = "∅"
SIDE = 30  # of a row's box
WINDOW = 2  # steps, in the picture of the window
PROMPT = 4  # rows of a system prompt there
AUDIO = AudioConfig(strides=(5, 5, 8, 15), num_codebooks=1)  # of two frames a step
SLOTS = 17  # of the cache there


def asked(scene: Timeline) -> Sample:
    """The rows in live order, with what both heads are asked at each."""
    return live_sample(scene.rows(), BUDGET, lambda step: FRAMES, VOCABULARY)


def draw_streams() -> str:
    """Five lanes over time; below each row stands its place in the live order."""
    rows = make_scene().streams()
    rank, left, lane_height = live_rank(rows), 156, 58
    column = 3 * (SIDE + 2) + 16
    drawing = Drawing(
        left + STEPS * column + 10, 40 + len(LANES) * lane_height + 24,
        "The five streams of a scene of five steps; numbers give the live order",
    )  # fmt: skip
    for lane, stream in enumerate(LANES):
        top = 40 + lane * lane_height
        drawing.line(10, top - 6, drawing.width - 10, top - 6)
        drawing.text(16, top + 20, STREAMS[stream].label, 13, anchor="start", bold=True)
        for step in range(STEPS):
            for place, index in enumerate(_rows_of(rows, stream, step)):
                x = left + step * column + 8 + place * (SIDE + 2)
                drawing.row(x, top, SIDE, rows, index)
                drawing.text(x + SIDE / 2, top + SIDE + 13, str(rank[index]), 10, GREY)
    for step in range(STEPS):
        x = left + step * column
        drawing.line(x, 28, x, drawing.height - 14)
        drawing.text(x + column / 2, 22, f"step {step}", 13, GREY)
    return drawing.svg()


def _rows_of(rows: Rows, stream: Stream, step: int) -> list[int]:
    found: list[int] = np.flatnonzero((rows.stream == stream) & (rows.step == step)).tolist()
    return found


def _draw_line(drawing: Drawing, rows: Rows, left: float, top: float) -> list[float]:
    """The rows in a line, each half of a step with a bracket above; where each row stands."""
    places: list[float] = []
    x, before = left, (-1, False)
    for index in range(len(rows)):
        half = (int(rows.step[index]), bool(rows.flag[index]))
        if half != before:
            x += 10 if places else 0
            count = int(((rows.step == half[0]) & (rows.flag == half[1])).sum())
            end = x + count * (SIDE + 2) - 2
            drawing.line(x, top - 8, end, top - 8, GREY)
            name = f"{'out' if half[1] else 'in'}({half[0]})"
            drawing.text((x + end) / 2, top - 14, name, 12, INK if half[1] else GREY, bold=half[1])
        places.append(x)
        drawing.row(x, top, SIDE, rows, index)
        x, before = x + SIDE + 2, half
    return places


def _line_width(rows: Rows, left: float) -> float:
    halves = len(set(zip(rows.step.tolist(), rows.flag.tolist(), strict=True)))
    return left + len(rows) * (SIDE + 2) + 10 * halves + 4


def draw_order() -> str:
    """The same rows as one line: what the transformer reads."""
    rows = make_scene().rows()
    drawing = Drawing(_line_width(rows, 12), 100, "The rows of the scene in live order")
    places = _draw_line(drawing, rows, 12, 40)
    for index, x in enumerate(places):
        drawing.text(x + SIDE / 2, 40 + SIDE + 14, str(index), 10, GREY)
    return drawing.svg()


def draw_tip() -> str:
    """What both heads are asked below each row, and what they answer."""
    sample, left, tops = asked(make_scene()), 118, (96, 136)
    rows = sample.rows
    drawing = Drawing(
        _line_width(rows, left), 210, "What the two heads are asked at each row, and their answers"
    )
    places = _draw_line(drawing, rows, left, 40)
    for name, top in zip(("text + image head", "audio head"), tops, strict=True):
        drawing.text(12, top + 19, name, 12, anchor="start", bold=True)
    for index, x in enumerate(places):
        answers = (int(sample.text_target[index]), int(sample.audio_target[index, 0]))
        for head, (answer, top) in enumerate(zip(answers, tops, strict=True)):
            _draw_answer(drawing, x, top, head, answer)
    note = "is No Output: an answer, and never a row. A row with nothing below it is not asked."
    drawing.text(left, 196, f"{NO_OUTPUT}  {note}", 12, GREY, "start")
    return drawing.svg()


def _draw_answer(drawing: Drawing, x: float, top: float, head: int, answer: int) -> None:
    if answer == NOT_ASKED:
        return
    silent = (VOCABULARY.text_no_output, VOCABULARY.audio_no_output)[head]
    if answer == silent:
        drawing.box(x + 0.5, top + 0.5, SIDE - 1, SIDE - 1, "white", GREY, dashed=True)
        drawing.text(x + SIDE / 2, top + SIDE / 2 + 5, NO_OUTPUT, 15, GREY)
        return
    modality = Modality.AUDIO if head else Modality.TEXT
    if not head and answer >= len(WORDS):
        modality = Modality.IMAGE
    fill = COLOURS[Stream.AUDIO_OUT] if head else COLOURS[Stream.TEXT_OUT]
    drawing.box(x, top, SIDE, SIDE, PICTURE_OUT if modality == Modality.IMAGE else fill)
    words = sign(modality, answer)
    drawing.text(x + SIDE / 2, top + SIDE / 2 + 4, words, 15 if modality else 11, "white")


def draw_silence() -> str:
    """Of each step: the rows that it holds, and how often a head said `No Output` for it."""
    sample = asked(make_scene())
    rows, left, top, side = sample.rows, 150, 40, 24
    column = 5 * (side + 2) + 14
    drawing = Drawing(left + STEPS * column + 8, 196, "Rows of each step, and the silences beside")
    labels = ("rows of input", "rows of output", "said No Output")
    for lane, label in enumerate(labels):
        drawing.text(12, top + 16 + lane * 38, label, 12, anchor="start", bold=True)
    silences = _silences(sample)
    for step in range(STEPS):
        x = left + step * column
        drawing.line(x - 7, 26, x - 7, 148)
        drawing.text(x + column / 2 - 7, 22, f"step {step}", 13, GREY)
        for lane, flag in enumerate((0, 1)):
            found = np.flatnonzero((rows.step == step) & (rows.flag == flag)).tolist()
            for place, index in enumerate(found):
                drawing.box(
                    x + place * (side + 2), top + lane * 38, side, side, colour(rows, index)
                )
        for place in range(silences.get(step, 0)):
            at = x + place * (side + 2)
            drawing.box(at + 0.5, top + 76.5, side - 1, side - 1, "white", GREY, dashed=True)
            drawing.text(at + side / 2, top + 76 + 17, NO_OUTPUT, 13, GREY)
    notes = (
        f"{len(rows)} rows. Written out, silence would have cost {sum(silences.values())} more.",
        f"Nobody is asked for step 0; what follows step {STEPS - 1} is not known.",
    )
    for line, note in enumerate(notes):
        drawing.text(12, 168 + 16 * line, note, 12, GREY, "start")
    return drawing.svg()


def _silences(sample: Sample) -> dict[int, int]:
    """How often `No Output` was said for each step."""
    rows, counts = sample.rows, dict[int, int]()
    for index in range(len(rows)):
        # Asked at an input row, a head speaks of the next step; at its own row, of that row's.
        step = int(rows.step[index]) + (not rows.flag[index])
        said = int(sample.text_target[index] == VOCABULARY.text_no_output)
        said += int(sample.audio_target[index, 0] == VOCABULARY.audio_no_output)
        if said:
            counts[step] = counts.get(step, 0) + said
    return counts


def _draw_mask(
    drawing: Drawing, left: float, top: float, cell: float, rows: Rows, mask: np.ndarray
) -> None:
    """A square for each pair of rows, filled where the row of the line sees that of the column."""
    count = len(rows)
    for index in range(count):
        drawing.box(left + index * cell, top - 17, cell - 1, 11, colour(rows, index))
        drawing.box(left - 17, top + index * cell, 11, cell - 1, colour(rows, index))
        for key in np.flatnonzero(mask[index]).tolist():
            at = (left + key * cell, top + index * cell)
            drawing.box(*at, cell - 1, cell - 1, colour(rows, index))
    drawing.box(left - 0.5, top - 0.5, count * cell, count * cell, "none", FAINT)
    for index in np.flatnonzero(np.diff(rows.step)).tolist():
        edge = (index + 1) * cell - 0.5
        drawing.line(left + edge, top - 16, left + edge, top + count * cell, "#b0b0b0")
        drawing.line(left - 16, top + edge, left + count * cell, top + edge, "#b0b0b0")


def draw_masks() -> str:
    """One law in two forms: five streams one after the other, and rows in live order."""
    scene, cell = make_scene(), 13
    forms = (("stream after stream", scene.streams()), ("in live order", scene.rows()))
    width = len(scene.rows()) * cell
    drawing = Drawing(
        2 * width + 96,
        width + 92,
        "The mask of the five streams, and the causal mask of live order",
    )
    for number, (name, rows) in enumerate(forms):
        left = 30 + number * (width + 44)
        drawing.text(left + width / 2, 24, name, 13, bold=True)
        _draw_mask(drawing, left, 56, cell, rows, live_mask(rows))
    seen = int(live_mask(scene.rows()).sum())
    note = f"Each line is a row; what it sees is filled. {seen} pairs in both forms, the same ones."
    drawing.text(30, width + 80, note, 12, GREY, "start")
    return drawing.svg()


def with_prompt() -> Rows:
    """The scene in live order behind a system prompt of four frames, a speaker's voice."""
    return concatenate([speaker_rows(np.arange(PROMPT)[:, None], AUDIO), make_scene().rows()])


def draw_window() -> str:
    """The mask under a window that keeps the prompt, and the slots of the cache meanwhile."""
    rows, cell = with_prompt(), 13
    width = len(rows) * cell
    drawing = Drawing(2 * width + 110, width + 108, "A window of two steps that keeps the prompt")
    drawing.text(30 + width / 2, 24, f"who sees whom: a window of {WINDOW} steps", 13, bold=True)
    _draw_mask(drawing, 30, 56, cell, rows, live_mask(rows, WINDOW))
    left = 30 + width + 62
    drawing.text(left + width / 2 - 12, 24, "the slots of the cache, step by step", 13, bold=True)
    _draw_slots(drawing, left, 56, (width - 30) / SLOTS, rows)
    notes = (
        f"P: the {PROMPT} rows of the prompt, which all that follows may see. A number: the step.",
        "A step that leaves the window frees its slots; new rows take the lowest that are free.",
    )
    for line, note in enumerate(notes):
        drawing.text(30, width + 80 + 16 * line, note, 12, GREY, "start")
    return drawing.svg()


def held_slots(rows: Rows) -> list[np.ndarray]:
    """After the prompt and each step: which row lies in each slot of a real cache, or `FREE`."""
    sizes = ModelConfig(
        d_model=8, d_position=2, d_time=2, num_layers=1, num_heads=1, num_kv_heads=1
    )
    cache, held = KVCache(sizes, SLOTS), []
    for step in range(-1, STEPS):
        new = rows.step == step if step >= 0 else rows.step < 0
        cache.slide(step - WINDOW + 1)
        cache.place(rows.step[new][None].astype(np.int64))
        held.append(cache.order[0].copy())
    return held


def _draw_slots(drawing: Drawing, left: float, top: float, cell: float, rows: Rows) -> None:
    height = 40
    for line, held in enumerate(held_slots(rows)):
        y = top + line * (height + 8)
        name = "prompt" if line == 0 else f"step {line - 1}"
        drawing.text(left - 8, y + height / 2 + 4, name, 11, GREY, "end")
        for slot, index in enumerate(held.tolist()):
            x = left + slot * cell
            if index == FREE:
                drawing.box(x, y, cell - 1, height, "white", FAINT)
                continue
            drawing.box(x, y, cell - 1, height, colour(rows, index))
            words = "P" if index < PROMPT else str(int(rows.step[index]))
            drawing.text(x + cell / 2 - 0.5, y + height / 2 + 4, words, 11)


PICTURES: dict[str, Callable[[], str]] = {
    "streams": draw_streams,
    "order": draw_order,
    "tip": draw_tip,
    "silence": draw_silence,
    "masks": draw_masks,
    "window": draw_window,
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
