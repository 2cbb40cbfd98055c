"""Real recordings as scenes: one voice with its text beside it, or a conversation on two channels.

A long recording is cut into scenes at its silences, block by block, so that hours take no more
memory than seconds. It is read twice: once for where somebody speaks, once for its sound.

Shapes: S samples at 24 kHz, C channels.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, UserError
from quintet.data.world.scene_files import save_scene, scene_folder
from quintet.data.world.scenes import RECORDED, Line, Reply, Scene
from quintet.data.world.sets import finished
from quintet.data.world.speech_bank import RECORDINGS
from quintet.data.world.transcripts import SPEAKERS, Utterance, read_lines, transcribed
from quintet.media.audio import open_audio
from quintet.media.loudness import FRAME, loudness, speech_spans

MAX_SECONDS = 12 * 3_600  # of one recording
LEAST_STEPS, MOST_STEPS = 16, 64  # of a scene
ENOUGH = 0.3  # seconds of silence on both sides of a cut; more is not better
PERSON, ASSISTANT = SPEAKERS


@dataclass(frozen=True)
class _Piece:
    """A scene's part of a recording: where it begins, and its sound [S, C], whole steps."""

    start: int
    samples_SC: np.ndarray


def cut_recordings(recordings: Path, folder: Path) -> int:
    """Cut every recording below `recordings` into scenes of `folder`, but for those that are
    finished; how many scenes there are.

    A file with a .txt of its name beside it is one voice, mixed down to one channel. Another with
    two channels is a conversation, the person on the left; what is left is one voice without a
    text. A .json beside a file has its lines with times.

    Raises:
        UserError: there is no recording, one cannot be read, a transcript does not fit, or other
            scenes lie in `folder`.
    """
    paths = sorted(p for p in recordings.rglob("*") if p.suffix.lower() in RECORDINGS)
    paths = [path for path in paths if folder not in path.parents]
    if not paths:
        raise UserError(
            f"{recordings} holds no recording; put {', '.join(RECORDINGS)} files there, or name "
            "another folder with --from."
        )
    count = 0
    for path in paths:
        for scene in recorded_scenes(path, str(path.relative_to(recordings)), count):
            about = {"split": RECORDED, "source": scene.source, "num_steps": scene.num_steps}
            if not finished(folder, count, about):
                save_scene(scene, scene_folder(folder, count))
            count += 1
    return count


def recorded_scenes(path: Path, name: str, first: int = 0) -> Iterator[Scene]:
    """The scenes of one recording, in order, numbered from `first`; `name` is their source.

    Raises:
        UserError: as `cut_recordings`.
    """
    text, lines = path.with_suffix(".txt"), path.with_suffix(".json")
    with open_audio(path, MAX_SECONDS) as reader:
        two = reader.channels == 2 and not text.exists()
    spans: list[list[tuple[int, int]]] = [[], []]
    for piece in _pieces(path, two):
        for channel, samples in enumerate(piece.samples_SC.T):
            found = speech_spans(samples)
            spans[channel] += [(piece.start + start, piece.start + end) for start, end in found]
    if lines.exists():
        said = read_lines(lines, SPEAKERS if two else SPEAKERS[:1])
    elif text.exists():
        said = transcribed(text, spans[0])
    else:
        said = [
            Utterance(speaker, start, end)
            for speaker, own in zip(SPEAKERS, spans, strict=True)
            for start, end in own
        ]
    said.sort(key=lambda utterance: utterance.start)
    past = 0  # of what is said
    for number, piece in enumerate(_pieces(path, two), first):
        while past < len(said) and said[past].end <= piece.start:
            past += 1
        end = piece.start + len(piece.samples_SC)
        future = bisect_left(said, end, past, key=lambda utterance: utterance.start)
        yield _scene(piece, said[past:future], number, name)


def _pieces(path: Path, two_channels: bool) -> Iterator[_Piece]:
    """A recording cut where it is silent, into whole steps; the last is filled up with silence."""
    most, start = MOST_STEPS * STEP_SAMPLES, 0
    held_SC = np.zeros((0, 2 if two_channels else 1), np.float32)
    with open_audio(path, MAX_SECONDS, two_channels) as reader:
        for block in reader:
            held_SC = np.concatenate([held_SC, block.reshape(len(block), -1)])
            # A little more than a scene, so that silence on both sides of a cut can be heard.
            while len(held_SC) >= most + 2 * STEP_SAMPLES:
                cut = _quietest_cut(held_SC)
                yield _Piece(start, held_SC[:cut])
                held_SC, start = held_SC[cut:], start + cut
    while len(held_SC):
        cut = _quietest_cut(held_SC) if len(held_SC) > most else len(held_SC)
        piece_SC = np.pad(held_SC[:cut], ((0, -cut % STEP_SAMPLES), (0, 0)))
        yield _Piece(start, piece_SC)
        held_SC, start = held_SC[cut:], start + cut


def _quietest_cut(samples_SC: np.ndarray) -> int:
    """The last of the steps' edges with the most silence around it (up to ENOUGH), of all the
    channels; where nobody ever pauses, the faintest edge."""
    speaking = np.zeros(len(samples_SC) + 1, bool)
    for samples in samples_SC.T:
        for start, end in speech_spans(samples):
            speaking[start:end] = True
    edges = np.arange(LEAST_STEPS, MOST_STEPS + 1) * STEP_SAMPLES
    edges = edges[edges < len(samples_SC)]
    loud = np.concatenate([[0], np.flatnonzero(speaking), [len(samples_SC)]])
    after = np.searchsorted(loud, edges)
    room = np.minimum(edges - loud[after - 1], loud[np.minimum(after, len(loud) - 1)] - edges)
    room = np.minimum(room, round(ENOUGH * SAMPLE_RATE))
    room[speaking[edges]] = 0
    if room.max() > 0:
        return int(edges[np.flatnonzero(room == room.max())[-1]])
    decibels = np.max([loudness(samples) for samples in samples_SC.T], axis=0)
    around = [decibels[edge // FRAME - 3 : edge // FRAME + 3].max() for edge in edges]
    return int(edges[int(np.argmin(around))])


def _scene(piece: _Piece, said: list[Utterance], number: int, name: str) -> Scene:
    """What is said during a piece, on its own clock."""
    inside = [part for utterance in said if (part := _part(utterance, piece))]
    lines = tuple(
        Line(_text(part), part.start, part.end, None, "user", part.words)
        for part in inside
        if part.speaker == PERSON
    )
    answers = _apart([part for part in inside if part.speaker == ASSISTANT])
    replies = tuple(_reply(part, piece, lines) for part in answers)
    return Scene(
        number, RECORDED, len(piece.samples_SC) // STEP_SAMPLES,
        np.ascontiguousarray(piece.samples_SC[:, 0]), lines, (), (), replies,
        f"{name} from {piece.start / SAMPLE_RATE:.2f} s",
    )  # fmt: skip


def _part(utterance: Utterance, piece: _Piece) -> Utterance | None:
    """What of an utterance lies in a piece; a word belongs where it begins."""
    length = len(piece.samples_SC)
    start, end = utterance.start - piece.start, utterance.end - piece.start
    if end <= 0 or start >= length:
        return None
    words = [word.later(-piece.start) for word in utterance.words]
    words = [replace(w, end=min(w.end, length)) for w in words if 0 <= w.start < length]
    return Utterance(utterance.speaker, max(start, 0), min(end, length), tuple(words))


def _apart(answers: list[Utterance]) -> list[Utterance]:
    """Answers of which no two sound in the same step: those that would are one."""
    joined: list[Utterance] = []
    for answer in answers:
        last = joined[-1] if joined else None
        if last and answer.start // STEP_SAMPLES <= (last.end - 1) // STEP_SAMPLES:
            end, words = max(last.end, answer.end), last.words + answer.words
            joined[-1] = replace(last, end=end, words=words)
        else:
            joined.append(answer)
    return joined


def _reply(part: Utterance, piece: _Piece, lines: tuple[Line, ...]) -> Reply:
    """The assistant's channel from the beginning of a step on."""
    step = part.start // STEP_SAMPLES
    start = step * STEP_SAMPLES
    asked = [line.text for line in lines if line.start_sample < part.start]
    speech = np.ascontiguousarray(piece.samples_SC[start : part.end, 1])
    words = tuple(word.later(-start) for word in part.words)
    request = asked[-1] if asked else ""
    return Reply(step, RECORDED, request, False, _text(part), speech, None, None, words)


def _text(part: Utterance) -> str:
    return " ".join(word.text for word in part.words)
