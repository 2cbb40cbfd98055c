"""A timeline: what each of the five streams holds at each step, and the live order of its rows.

The live order is … out(t): text and image rows, audio rows | in(t): text rows, image rows,
audio rows | out(t+1) …: input stamped t is complete only at the end of step t, output stamped t
is played during it and so was computed before. Every row may see the rows before it.
"""

from __future__ import annotations

import numpy as np

from quintet.config import AudioConfig
from quintet.timeline.rows import Rows, concatenate, make_rows, single_column
from quintet.timeline.streams import STREAMS, Modality, Stream


class Timeline:
    """Collects rows stream by stream; positions are counted here, for each modality and source.

    Args:
        num_codebooks: of the audio tokenizer.
        text_vocab_size: image codes come after it in the unified vocabulary.
    """

    def __init__(self, num_codebooks: int, text_vocab_size: int) -> None:
        self.num_codebooks = num_codebooks
        self.text_vocab_size = text_vocab_size
        self._tables: list[Rows] = []
        self._count: dict[tuple[Modality, bool], int] = {}

    def _add(self, stream: Stream, modality: Modality, tokens: np.ndarray, step: int) -> Rows:
        key = (modality, STREAMS[stream].is_output)
        first = self._count.get(key, 0)
        self._count[key] = first + len(tokens)
        position = np.arange(first, first + len(tokens))
        rows = make_rows(stream, modality, tokens, position, np.asarray(step))
        self._tables.append(rows)
        return rows

    def add_text(self, stream: Stream, ids: list[int] | np.ndarray, step: int) -> Rows:
        """Append text entries to `stream` during `step`; the rows that were added."""
        tokens = single_column(np.asarray(ids, np.int32), self.num_codebooks)
        return self._add(stream, Modality.TEXT, tokens, step)

    def add_image(self, stream: Stream, codes: np.ndarray, step: int) -> Rows:
        """Append image codes [N] (of the image tokenizer, from 0) to `stream` during `step`."""
        ids = np.asarray(codes, np.int32).reshape(-1) + self.text_vocab_size
        tokens = single_column(ids, self.num_codebooks)
        return self._add(stream, Modality.IMAGE, tokens, step)

    def add_audio(self, stream: Stream, codes: np.ndarray, step: int) -> Rows:
        """Append audio frames [N, Q] to `stream` during `step`."""
        return self._add(stream, Modality.AUDIO, np.asarray(codes), step)

    def add_speaker(self, codes: np.ndarray, audio: AudioConfig) -> Rows:
        """Put a speaker's voice into the system prompt, as frames [N, Q]; the rows."""
        rows = speaker_rows(codes, audio)
        self._tables.append(rows)
        return rows

    def streams(self) -> Rows:
        """All rows, stream after stream: the concatenated form."""
        rows = concatenate(self._tables)
        return rows.take(np.lexsort((np.arange(len(rows)), rows.step, rows.stream)))

    def rows(self) -> Rows:
        """All rows in live order: the interleaved form."""
        rows = concatenate(self._tables)
        return rows.take(live_order(rows))

    def turns(self) -> Rows:
        """All rows in the order in which they were added: turn mode, which has no clock."""
        return concatenate(self._tables)


def speaker_rows(codes: np.ndarray, audio: AudioConfig) -> Rows:
    """The system prompt that holds a speaker's voice, as frames [N, Q]: received sound whose steps
    and positions are below zero, since no scene and no session has such."""
    count = len(codes)
    steps = np.array([audio.step_of(frame) for frame in range(count)], np.int32)
    position = np.arange(-count, 0)
    return make_rows(
        Stream.AUDIO_IN, Modality.AUDIO, codes, position, steps - steps.max(initial=-1) - 1
    )


def live_order(rows: Rows) -> np.ndarray:
    """Permutation [N] that puts rows in live order. Rows of one stream and step keep theirs."""
    # The values of `Stream` are the order inside a step: its outputs, then its inputs.
    return np.lexsort((np.arange(len(rows)), rows.stream, rows.step))


def live_rank(rows: Rows) -> np.ndarray:
    """Place [N] of each row in the live order."""
    rank = np.empty(len(rows), np.int64)
    rank[live_order(rows)] = np.arange(len(rows))
    return rank
