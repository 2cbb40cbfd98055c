"""Which head is asked at which row, and what it should answer.

At a *tip* the model is asked for output: first the text+image head, again after each row it
gives, until it answers `No Output` or the step's budget is spent; then the audio head, again
after each frame, until it answers `No Output` or the step's frames are full. `No Output` costs
no row. A tip's question is asked at the row that is last when it is asked, so one row may be
asked by both heads: the text+image head says `No Output` there, then the audio head speaks.

Shapes: N rows, Q = num_codebooks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quintet.timeline.rows import Rows, concatenate
from quintet.timeline.streams import Modality, Stream

NOT_ASKED = -100  # the head's answer at this row does not count


@dataclass(frozen=True)
class Vocabulary:
    """The entries that stand for `No Output`: one past the real ones, never fed back."""

    text_image_vocab_size: int
    codebook_size: int

    @property
    def text_no_output(self) -> int:
        return self.text_image_vocab_size

    @property
    def audio_no_output(self) -> int:
        return self.codebook_size


@dataclass(frozen=True)
class Sample:
    """Rows in order, with what is asked at each."""

    rows: Rows
    text_target: np.ndarray  # int32 [N]
    audio_target: np.ndarray  # int32 [N, Q]
    source: tuple[str, int] | None = None  # the shard that it was read from, and its index there

    def __len__(self) -> int:
        return len(self.rows)


def _blank(rows: Rows) -> Sample:
    count, num_codebooks = rows.tokens.shape
    return Sample(
        rows,
        np.full(count, NOT_ASKED, np.int32),
        np.full((count, num_codebooks), NOT_ASKED, np.int32),
    )


def _ask(
    sample: Sample,
    tip: int,
    text: list[int],
    audio: list[int],
    budget: float,
    frames: float,
    vocabulary: Vocabulary,
) -> None:
    """Write the targets of one answer: rows `text` then rows `audio`, asked from row `tip` on."""
    tokens, asked = sample.rows.tokens, tip
    for row in text:
        sample.text_target[asked] = tokens[row, 0]
        asked = row
    if len(text) < budget:
        sample.text_target[asked] = vocabulary.text_no_output
    for row in audio:
        sample.audio_target[asked] = tokens[row]
        asked = row
    if len(audio) < frames:
        sample.audio_target[asked] = vocabulary.audio_no_output


def live_sample(
    rows: Rows, budget: int, frames_in: Callable[[int], int], vocabulary: Vocabulary
) -> Sample:
    """Targets of rows in live order: the last input row of each step is a tip.

    `frames_in(s)` is how many audio frames step s holds (18 or 19 in the reference).
    The system prompt, before step 0, asks nothing. The last step's tip is not asked either: what
    would follow it is unknown.
    """
    sample = _blank(rows)
    is_input = rows.flag == 0
    steps = np.unique(rows.step[is_input & (rows.step >= 0)])
    for step in steps[:-1]:
        tip = int(np.nonzero(is_input & (rows.step == step))[0][-1])
        answer = (rows.step == step + 1) & ~is_input
        text = np.nonzero(answer & (rows.stream == Stream.TEXT_OUT))[0].tolist()
        audio = np.nonzero(answer & (rows.stream == Stream.AUDIO_OUT))[0].tolist()
        _ask(sample, tip, text, audio, budget, frames_in(int(step) + 1), vocabulary)
    return sample


def turn_sample(rows: Rows, vocabulary: Vocabulary) -> Sample:
    """Targets of turn mode: each run of output rows answers the row before it, with no clock.

    A run's text and image rows come before its audio rows; both end with `No Output`.
    """
    sample = _blank(rows)
    flag = rows.flag
    edges = np.flatnonzero(np.diff(flag, prepend=0, append=0))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        assert start > 0, "an answer needs a row before it"
        run = np.arange(start, end)
        text = run[rows.stream[run] == Stream.TEXT_OUT].tolist()
        audio = run[rows.stream[run] == Stream.AUDIO_OUT].tolist()
        _ask(sample, start - 1, text, audio, np.inf, np.inf, vocabulary)
    return sample


def next_row_sample(rows: Rows, vocabulary: Vocabulary, both_heads: bool = False) -> Sample:
    """Targets of plain next-row prediction, flag 0: each row's head predicts the row after it.

    With `both_heads`, the head that the next row does not use learns `No Output`.
    """
    sample = _blank(rows)
    next_is_audio = rows.modality[1:] == Modality.AUDIO
    following = rows.tokens[1:]
    sample.text_target[:-1][~next_is_audio] = following[~next_is_audio, 0]
    sample.audio_target[:-1][next_is_audio] = following[next_is_audio]
    if both_heads:
        sample.text_target[:-1][next_is_audio] = vocabulary.text_no_output
        sample.audio_target[:-1][~next_is_audio] = vocabulary.audio_no_output
    return sample


def join(samples: list[Sample]) -> Sample:
    """Samples one after another (their rows are told apart by where each begins)."""
    return Sample(
        concatenate([s.rows for s in samples]),
        np.concatenate([s.text_target for s in samples]),
        np.concatenate([s.audio_target for s in samples]),
    )
