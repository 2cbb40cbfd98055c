"""What is said in recordings, and when: from times that are given, or from the text alone.

A text without times is laid over the stretches of speech. How long each word takes relative to the
others is asked of espeak-ng; which words a stretch holds is chosen so that lengths fit and
stretches begin after commas and full stops. docs/log.md has the errors of both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quintet.config import SAMPLE_RATE, UserError
from quintet.media.speech import ASSISTANT_VOICE, Word, say

SPEAKERS = ("person", "assistant")
MAX_BYTES = 20_000_000  # of a transcript
MOST_WORDS = 12  # a second: more is another recording's transcript
PHRASE = 40  # words that espeak-ng is given at once
BAND = 60  # words by which a stretch's beginning may lie off its share of the time
TOLERANCE = 0.5  # seconds: how well a stretch and its words must fit
MARKS = (".", ",", "?", "!", ";", ":", "…", "-", "–")
UNMARKED = 1.5  # what a stretch costs that begins within a phrase


@dataclass(frozen=True)
class Utterance:
    """Something said without a longer pause, on the recording's clock, in samples."""

    speaker: str  # of SPEAKERS
    start: int
    end: int
    words: tuple[Word, ...] = ()


def read_text(path: Path) -> list[str]:
    """The words of a transcript without times.

    Raises:
        UserError: the file cannot be read, is too long or is not UTF-8.
    """
    return _read(path).split()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UserError(f"{path} has more than {MAX_BYTES:,} bytes; give a shorter transcript.")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check its permissions."
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8.") from None


def read_lines(path: Path, speakers: Sequence[str]) -> list[Utterance]:
    """Utterances with times: a list of {"speaker", "text", "start_seconds", "end_seconds"}, and
    where they are known "words", [text, start, end] each.

    Args:
        speakers: who may speak, of SPEAKERS; the first is whoever is not named.

    Raises:
        UserError: the file is no such list, or its times are impossible.
    """
    try:
        found = json.loads(_read(path))
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        found = found.get("lines")
    if not isinstance(found, list):
        raise UserError(f"{path} holds no list of lines; see docs/world.md for its form.")
    lines = [_line(path, number, line, speakers) for number, line in enumerate(found, 1)]
    return sorted(lines, key=lambda line: line.start)


def _line(path: Path, number: int, found: Any, speakers: Sequence[str]) -> Utterance:
    """Line `number` of a transcript, which is judged."""
    wrong = UserError(f"Line {number} of {path} is wrong; see docs/world.md for its form.")
    try:
        speaker, tokens = found.get("speaker", speakers[0]), str(found["text"]).split()
        start, end = _sample(found["start_seconds"]), _sample(found["end_seconds"])
        given = [(str(t), _sample(a), _sample(b)) for t, a, b in found.get("words", ())]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise wrong from None
    if speaker not in speakers or not 0 <= start < end:
        raise wrong
    times = [time for _, *pair in given for time in pair]
    if times != sorted(times) or (times and not start <= times[0] <= times[-1] <= end):
        raise wrong
    _check_pace(path, len(tokens), end - start)
    words = tuple(Word(*word) for word in given)
    return Utterance(speaker, start, end, words or spread(tokens, [(start, end)])[0])


def _sample(seconds: Any) -> int:
    return round(float(seconds) * SAMPLE_RATE)


def _check_pace(path: Path, words: int, samples: int) -> None:
    if words > 1 + MOST_WORDS * samples / SAMPLE_RATE:
        raise UserError(
            f"{path} has {words:,} words for {samples / SAMPLE_RATE:.1f} seconds of speech; "
            "it seems to belong to another recording."
        )


def transcribed(path: Path, spans: list[tuple[int, int]]) -> list[Utterance]:
    """One voice's stretches of speech with the words of the text `path`.

    Raises:
        UserError: the text cannot be read, or has more words than can be said in that time.
    """
    tokens = read_text(path)
    _check_pace(path, len(tokens), sum(end - start for start, end in spans))
    placed = spread(tokens, spans)
    return [
        Utterance(SPEAKERS[0], start, end, words)
        for (start, end), words in zip(spans, placed, strict=True)
    ]


def spread(tokens: list[str], spans: list[tuple[int, int]]) -> list[tuple[Word, ...]]:
    """`tokens` laid over stretches of speech [start, end): the words of each."""
    if not spans:
        return []
    weights = np.array(_durations(tokens), float)
    lengths = np.array([end - start for start, end in spans], float)
    until = np.concatenate([[0], np.cumsum(weights)])
    if until[-1]:
        until *= lengths.sum() / until[-1]
    edges = _edges(tokens, until, lengths)
    words = []
    for (start, end), first, last in zip(spans, edges, edges[1:], strict=False):
        times = until[first : last + 1] - until[first]
        times = start + times * ((end - start) / times[-1] if last > first else 0)
        places = np.round(times).astype(int).tolist()
        words.append(tuple(map(Word, tokens[first:last], places, places[1:])))
    return words


def _edges(tokens: list[str], until: np.ndarray, lengths: np.ndarray) -> list[int]:
    """Which word each stretch begins with, and the number of words: the cheapest choice, found
    stretch by stretch among the beginnings within BAND of what the time's share says."""
    count = len(tokens)
    marked = [True, *(token.endswith(MARKS) for token in tokens)]
    shares = np.searchsorted(until, np.cumsum(lengths)[:-1])
    choices = [np.array([0])]
    choices += [np.arange(max(0, n - BAND), min(count, n + BAND) + 1) for n in shares]
    choices.append(np.array([count]))
    cost, came = np.zeros(1), []
    for length, before, after in zip(lengths, choices, choices[1:], strict=False):
        said = until[after][None] - until[before][:, None]
        misfit = ((said - length) / (TOLERANCE * SAMPLE_RATE)) ** 2
        misfit[before[:, None] > after[None]] = np.inf
        total = cost[:, None] + misfit
        came.append(total.argmin(0))
        cost = total.min(0) + UNMARKED * ~np.array([marked[n] for n in after])
    edges, at = [count], 0
    for before, back in zip(choices[-2::-1], came[::-1], strict=True):
        at = int(back[at])
        edges.append(int(before[at]))
    return edges[::-1]


def _durations(tokens: list[str]) -> list[float]:
    """How long each word takes, in any unit."""
    durations: list[float] = []
    for first in range(0, len(tokens), PHRASE):
        some = tokens[first : first + PHRASE]
        durations += _spoken_durations(some) or [3.0 + len(token) for token in some]
    return durations


def _spoken_durations(tokens: list[str]) -> list[float]:
    """As espeak-ng says them; nothing where it is missing or says something else."""
    try:
        _, words = say(" ".join(tokens), ASSISTANT_VOICE)
    except UserError:
        return []
    found: list[tuple[str, float]] = []
    for word in words:  # it says some words as one, such as "of the"
        parts = word.text.split()
        letters = sum(map(len, parts))
        found += [(part, (word.end - word.start) * len(part) / letters) for part in parts]
    if [text for text, _ in found] != tokens:
        return []
    unit = sum(seconds for _, seconds in found) / max(1, sum(map(len, tokens)) + 3 * len(tokens))
    return [seconds / unit for _, seconds in found]
