"""The audio tokenizer's quality at each bit rate, on held-out speech, beside speech codecs.

*Codecs*: ours with one codebook, two, up to all; Opus at 6 kbit/s; Codec2 at 450, 700, 1,200 and
3,200 bit/s; and an anchor, the original without what lies above 4 kHz, the best that a codec of
8 kHz (Codec2) can reach. *Speech*: sentences of the synthetic world in voices that training
never hears, and, if a folder is given, its recordings. *Scores*: those of `sound_scores`, each
the mean over files with its 95 % bootstrap interval.

Everybody goes through the same procedure: the codec's one delay is found in all the files of a
set and taken away (none is expected of ours), the end is cut or filled with silence, and levels
are left as they are, which only the log-mel distance notices.

    quintet bench codec-quality --speech FOLDER
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import ScoreRow, interval, low_rate, row, sound_scores
from quintet.config import SAMPLE_RATE, UserError
from quintet.data.world.grammar import KINDS, request
from quintet.media.audio import read_audio
from quintet.media.speech import random_voice, synthesize
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.codec_folder import load_codec

CLIPS = 40  # at most, of each set
SYNTHETIC_SECONDS = (3.0, 6.0)
REAL_SECONDS = (2.0, 10.0)  # shorter files are joined, longer ones are cut
GAP = 0.2  # seconds of silence between the sentences, or the files, of a clip
SOUND_FILES = (".wav", ".flac", ".ogg", ".mp3")
SEED = 77

Roundtrip = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Codec:
    """There and back; `rate` in bits a second, none for the anchor."""

    name: str
    rate: float | None
    roundtrip: Roundtrip
    ours: bool = False


@dataclass(frozen=True)
class Figures:
    """What one codec reached on one set: values [files, scores], not a number where missed."""

    codec: Codec
    values: np.ndarray
    delay: int  # samples

    def judged(self, index: int) -> np.ndarray:
        """The values of one score, without the files on which it gave up."""
        column = self.values[:, index]
        judged: np.ndarray = column[np.isfinite(column)]
        return judged


@torch.no_grad()
def run(model: str = "nano", speech: Path | None = None) -> list[ScoreRow]:
    """Every score of every codec on the synthetic voices and on the sound files in `speech`.

    Ours stands beside the peer of the nearest bit rate. Prints a table for each set.

    Raises:
        UserError: the model cannot be loaded, espeak-ng is missing, or `speech` holds no sound.
    """
    torch.set_num_threads(1)
    console = Console()
    sets = {"synthetic": synthetic_clips()}
    if speech is not None:
        sets["real"] = real_clips(speech)
    tokenizer = load_codec(model)
    rows: list[ScoreRow] = []
    for name, clips in sets.items():
        figures = [judge(codec, clips) for codec in codecs(tokenizer, clips)]
        _print(console, name, clips, figures)
        rows += _rows(name, figures)
    if not low_rate.codec2_is_here():
        console.print(
            "Codec2 is left out: its programs c2enc and c2dec are not installed; on Debian, "
            "install the package codec2."
        )
    return rows


def synthetic_clips() -> list[np.ndarray]:
    """`CLIPS` clips, each of one held-out voice saying sentences; peak 0.5; deterministic."""
    clips = []
    low, high = (round(seconds * SAMPLE_RATE) for seconds in SYNTHETIC_SECONDS)
    for index in range(CLIPS):
        rng = np.random.default_rng((SEED, index))
        voice = random_voice(rng, "test")
        clip = np.zeros(0, np.float32)
        while len(clip) < low:
            said = synthesize(request(str(rng.choice(KINDS)), rng).text, voice)
            clip = np.concatenate([clip, _gap(), said]) if len(clip) else said
        clip = clip[:high]
        clips.append((0.5 / np.abs(clip).max() * clip).astype(np.float32))
    return clips


def real_clips(folder: Path) -> list[np.ndarray]:
    """At most `CLIPS` clips of the sound files in `folder` and below it, evenly chosen.

    Raises:
        UserError: there is none, or one cannot be read.
    """
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SOUND_FILES]
    groups = _groups(files)
    if not groups:
        raise UserError(
            f"{folder} holds no speech of {REAL_SECONDS[0]:g} seconds or more; name a folder of "
            "WAV, FLAC, OGG or MP3 files."
        )
    chosen = sorted({round(i) for i in np.linspace(0, len(groups) - 1, CLIPS)})
    clips = []
    for index in chosen:
        pieces = [read_audio(path) for path in groups[index]]
        clip = pieces[0]
        for piece in pieces[1:]:
            clip = np.concatenate([clip, _gap(), piece])
        clips.append(clip[: round(REAL_SECONDS[1] * SAMPLE_RATE)])
    return clips


def _groups(files: list[Path]) -> list[list[Path]]:
    """Neighbouring files together until they last long enough; a remainder is dropped."""
    groups: list[list[Path]] = []
    group: list[Path] = []
    lasts = 0.0
    for path in files:
        try:
            lasts += soundfile.info(path).duration
        except soundfile.LibsndfileError:
            raise UserError(
                f"{path} is not a sound file that can be read; remove it from the folder."
            ) from None
        group.append(path)
        if lasts >= REAL_SECONDS[0]:
            groups.append(group)
            group, lasts = [], 0.0
    return groups


def _gap() -> np.ndarray:
    return np.zeros(round(GAP * SAMPLE_RATE), np.float32)


def codecs(tokenizer: AudioTokenizer, clips: list[np.ndarray]) -> list[Codec]:
    """Ours from one codebook to all of them, then the peers, then the anchor.

    Opus chooses its rate as it goes: `clips` tell what it is on the average.
    """
    books, rate = tokenizer.config.num_codebooks, tokenizer.config.bits_per_second
    made = [
        Codec(f"ours, {n} of {books} books", rate * n / books, partial(_ours, tokenizer, n), True)
        for n in range(1, books + 1)
    ]
    if low_rate.codec2_is_here():
        made += [
            Codec(f"Codec2 {mode}", bits, partial(low_rate.codec2, mode=mode))
            for mode, bits in low_rate.CODEC2_MODES.items()
        ]
    made.append(Codec("Opus", low_rate.opus_rate(clips), low_rate.opus))
    return [*made, Codec("anchor, 4 kHz", None, low_rate.low_pass)]


def _ours(tokenizer: AudioTokenizer, books: int, sound: np.ndarray) -> np.ndarray:
    """There and back with the first `books` codebooks; the last frame is filled up."""
    hop = tokenizer.config.hop
    whole = np.pad(sound, (0, -len(sound) % hop))
    codes_BTQ, _ = tokenizer.encode(torch.from_numpy(whole)[None])
    made_BS, _ = tokenizer.decode(codes_BTQ[..., :books])
    made: np.ndarray = made_BS[0].numpy()
    return made


def judge(codec: Codec, clips: list[np.ndarray]) -> Figures:
    """All scores of one codec on all clips."""
    decoded = [codec.roundtrip(clip) for clip in clips]
    delay = sound_scores.find_delay(clips, decoded)
    pairs = zip(clips, decoded, strict=True)
    values = [sound_scores.score(x, sound_scores.align(y, delay, len(x))) for x, y in pairs]
    return Figures(codec, np.array(values), delay)


def _rows(name: str, figures: list[Figures]) -> list[ScoreRow]:
    """One row for each codec and score that judged anything at all."""
    rows: list[ScoreRow] = []
    for one in figures:
        peer = _peer_of(one.codec, figures)
        for index, score in enumerate(sound_scores.SCORES):
            judged = one.judged(index)
            if not len(judged):
                continue
            value, low, high = interval(judged)
            beside = None
            # A ratio of decibels says nothing.
            if peer is not None and score.unit != "dB" and len(peer.judged(index)):
                beside = float(peer.judged(index).mean())
            plain = row(f"{name}, {one.codec.name}, {score.name}", score.unit, value, beside)
            rows.append({**plain, "low": low, "high": high, "n": len(judged)})
    return rows


def _peer_of(codec: Codec, figures: list[Figures]) -> Figures | None:
    """For one of ours, the peer whose bit rate is nearest."""
    if not codec.ours or codec.rate is None:
        return None
    others = [
        (abs(one.codec.rate - codec.rate), one)
        for one in figures
        if not one.codec.ours and one.codec.rate is not None
    ]
    return min(others, key=lambda pair: pair[0])[1] if others else None


def _print(console: Console, name: str, clips: list[np.ndarray], figures: list[Figures]) -> None:
    """A line for each codec: mean and 95 % interval of each score; then what gave up."""
    seconds = sum(map(len, clips)) / SAMPLE_RATE
    table = Table(
        "", "bit/s", "late by", title=f"{name} speech: {len(clips)} clips, {seconds:.0f} s"
    )
    for score in sound_scores.SCORES:
        table.add_column(f"{score.name} {'↓' if score.less else '↑'}", justify="right")
    for one in figures:
        rate = "" if one.codec.rate is None else f"{one.codec.rate:,.0f}"
        cells = [_cell(one.judged(index)) for index in range(len(sound_scores.SCORES))]
        late = f"{1_000 * one.delay / SAMPLE_RATE:.1f} ms"
        table.add_row(one.codec.name, rate, late, *cells)
    console.print(table)
    for one in figures:
        for index, score in enumerate(sound_scores.SCORES):
            missed = len(clips) - len(one.judged(index))
            if missed:
                console.print(
                    f"{score.name} found no speech in {missed} of {len(clips)} files of "
                    f"{one.codec.name}: its mean leaves them out."
                )


def _cell(judged: np.ndarray) -> str:
    if not len(judged):
        return "-"
    return "{:.2f} [{:.2f}, {:.2f}]".format(*interval(judged))
