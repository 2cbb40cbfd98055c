"""Answers written to questions, many at once, and whether they are right to the last character.

Shapes: B questions, T rows, N = B, W entries that are words, and `No Output`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from quintet.model.cache import KVCache
from quintet.model.embedding import RowTensors
from quintet.model.omni import Omni
from quintet.timeline.rows import Rows, concatenate, make_rows, single_column
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import Sample
from quintet.tokenizers.text import TextTokenizer

LONGER = 8  # rows that an answer may have beyond the longest right one


def question_of(sample: Sample) -> Rows:
    """What is received before anything is written."""
    return sample.rows.take(slice(0, int(np.argmax(sample.rows.flag == 1))))


def written_in(sample: Sample) -> list[int]:
    """Text entries of all that is written."""
    rows = sample.rows
    is_text = (rows.flag == 1) & (rows.modality == Modality.TEXT)
    entries: list[int] = rows.tokens[is_text, 0].tolist()
    return entries


def after(mark: int, written: Sequence[int]) -> list[int]:
    """The answer: what follows the mark, or everything where there is none."""
    written = list(written)
    return written[written.index(mark) + 1 :] if mark in written else written


@torch.no_grad()
def write(
    model: Omni,
    text: TextTokenizer,
    questions: Sequence[Rows],
    budget: int,
    firsts: Sequence[int] | None = None,
    anew_after: int | None = None,
) -> list[list[int]]:
    """The likeliest text entries after each question, until `No Output` or `budget` of them: what
    turn mode writes to each alone.

    Args:
        firsts: after each question the position of the first of them, 0 unless given.
        anew_after: the entry after which positions count from 0 again.
    """
    batch, device, longest = len(questions), model.device, max(map(len, questions))
    cache = KVCache(model.config.model, longest + budget, batch, device)
    filler = questions[0].take(slice(0, 1))
    padded = [concatenate([q, *[filler] * (longest - len(q))]) for q in questions]
    is_row_BT = np.arange(longest) < np.array([len(q) for q in questions])[:, None]
    hidden_BTD = model(RowTensors.from_rows(padded).to(device), None, cache, is_row_BT)
    last_B = torch.from_numpy(is_row_BT.sum(1) - 1).to(device)
    hidden_BD = hidden_BTD[torch.arange(batch, device=device), last_B]
    places = list(firsts or [0] * batch)
    made: list[list[int]] = [[] for _ in questions]
    writes_B = np.ones(batch, bool)
    for _ in range(budget):
        entries_B, speaks_B = _likeliest(model, text, hidden_BD)
        writes_B &= speaks_B
        if not writes_B.any():
            break
        for index in np.flatnonzero(writes_B):
            made[index].append(int(entries_B[index]))
        rows = [
            _row(model, entry, place)
            for place, entry in zip(places, np.where(writes_B, entries_B, 0), strict=True)
        ]
        places = [
            0 if entry == anew_after else place + 1
            for place, entry in zip(places, entries_B.tolist(), strict=True)
        ]
        table = RowTensors.from_rows(rows).to(device)
        hidden_BD = model(table, None, cache, writes_B[:, None])[:, 0]
    return made


def _likeliest(model: Omni, text: TextTokenizer, hidden_BD: Tensor) -> tuple[np.ndarray, ...]:
    """Entries [B], and bool [B]: which are none of silence."""
    logits_BW = model.text_image_head.words(hidden_BD)
    logits_BW[:, text.vocab_size : -1] = -torch.inf
    entries_B = logits_BW.argmax(-1).cpu().numpy()
    return entries_B, entries_B < logits_BW.shape[-1] - 1


def _row(model: Omni, entry: int, place: int) -> Rows:
    tokens = single_column(np.array([entry]), model.config.audio.num_codebooks)
    return make_rows(Stream.TEXT_OUT, Modality.TEXT, tokens, np.array([place]), np.asarray(0))


def right_answers(
    model: Omni,
    text: TextTokenizer,
    mark: int,
    samples: Sequence[Sample],
    firsts: Sequence[int] | None = None,
    together: int = 128,
    answer_stays: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Of each question whether its answer is right, bool [N], and the text entries written to it,
    reasoning and all, int [N]; `firsts` as `write` has them, for each sample. With `answer_stays`
    an answer's positions are those that it would have without reasoning."""
    right, entries = [], []
    firsts = firsts or [0] * len(samples)
    for start in range(0, len(samples), together):
        part = slice(start, start + together)
        group, questions = samples[part], [question_of(sample) for sample in samples[part]]
        longest = max(len(written_in(sample)) for sample in group)
        anew_after = mark if answer_stays else None
        made = write(model, text, questions, longest + LONGER, firsts[part], anew_after)
        for sample, written in zip(group, made, strict=True):
            right.append(after(mark, written) == after(mark, written_in(sample)))
            entries.append(len(written))
    return np.array(right), np.array(entries)
