"""A scene of five steps, small enough to be drawn row by row, and the ink to draw it with."""

from __future__ import annotations

from html import escape

import numpy as np

from quintet.timeline.rows import Rows
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.timeline import Timeline

STEPS = 5
FRAMES = 2  # of sound in a step
BUDGET = 4  # rows of the text+image stream in a step
CODEBOOK = 100
WORDS = ["draw", "a", "cat", "A", "cat."]
# Lanes from top to bottom: what comes in, what goes out.
LANES = (Stream.TEXT_IN, Stream.IMAGE_IN, Stream.AUDIO_IN, Stream.TEXT_OUT, Stream.AUDIO_OUT)
COLOURS = {
    Stream.TEXT_IN: "#9db7ec", Stream.IMAGE_IN: "#f3bf8b", Stream.AUDIO_IN: "#93d0b8",
    Stream.TEXT_OUT: "#3b6fd4", Stream.AUDIO_OUT: "#2f9e77",
}  # fmt: skip
PICTURE_OUT = "#d9721f"  # of the text+image stream
INK, FAINT, GREY = "#222222", "#d8d8d8", "#707070"
SIGNS = {Modality.AUDIO: "♪", Modality.IMAGE: "▦"}


def make_scene() -> Timeline:
    """Somebody types "draw a cat"; while a picture is shown to it, the model writes two words,
    says them in three frames, and draws two patches."""
    scene = Timeline(num_codebooks=1, text_vocab_size=len(WORDS))
    heard = iter(range(STEPS * FRAMES))
    for step in range(STEPS):
        if step == 1:
            scene.add_text(Stream.TEXT_IN, [0, 1, 2], step)
        if step == 2:
            scene.add_text(Stream.TEXT_OUT, [3, 4], step)
            scene.add_audio(Stream.AUDIO_OUT, np.array([[40], [41]]), step)
        if step == 3:
            scene.add_image(Stream.TEXT_OUT, np.array([7, 8]), step)
            scene.add_audio(Stream.AUDIO_OUT, np.array([[42]]), step)
            scene.add_image(Stream.IMAGE_IN, np.array([5, 6]), step)
        scene.add_audio(Stream.AUDIO_IN, np.array([[next(heard)] for _ in range(FRAMES)]), step)
    return scene


def sign(modality: int, token: int) -> str:
    """What stands in a row's box: the word, or a sign for a patch or a frame."""
    return SIGNS[Modality(modality)] if modality != Modality.TEXT else WORDS[token]


def colour(rows: Rows, index: int) -> str:
    """Of a row: its stream's, and for what is drawn one of its own."""
    stream = Stream(rows.stream[index])
    drawn = stream == Stream.TEXT_OUT and rows.modality[index] == Modality.IMAGE
    return PICTURE_OUT if drawn else COLOURS[stream]


class Drawing:
    """A picture in lines of SVG, on white, so that it is readable on a dark page too."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.lines: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, edge: str = "none",
        dashed: bool = False,
    ) -> None:  # fmt: skip
        dashes = ' stroke-dasharray="3 2"' if dashed else ""
        self.lines.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="2" '
            f'fill="{fill}" stroke="{edge}"{dashes}/>'
        )

    def text(
        self, x: float, y: float, words: str, size: float = 12, fill: str = INK,
        anchor: str = "middle", bold: bool = False,
    ) -> None:  # fmt: skip
        weight = ' font-weight="bold"' if bold else ""
        self.lines.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{fill}" '
            f'text-anchor="{anchor}"{weight}>{escape(words)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, edge: str = FAINT) -> None:
        self.lines.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{edge}"/>'
        )

    def row(self, x: float, y: float, side: float, rows: Rows, index: int) -> None:
        """The box of a row, with its word or sign."""
        self.box(x, y, side, side, colour(rows, index))
        words = sign(int(rows.modality[index]), int(rows.tokens[index, 0]))
        made = bool(rows.flag[index])
        size = (
            15 if len(words) == 1 and words in SIGNS.values() else min(12, side / len(words) * 1.5)
        )
        self.text(x + side / 2, y + side / 2 + size / 3, words, size, "white" if made else INK)

    def svg(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" '
            'font-family="system-ui, sans-serif" role="img">'
        )
        ground = f'<rect width="{self.width:g}" height="{self.height:g}" rx="6" fill="white"/>'
        title = f"<title>{escape(self.title)}</title>"
        return "\n".join([head, title, ground, *self.lines, "</svg>"]) + "\n"
