"""Sound files to residual codes and back, in memory that does not grow with the file.

Only the codec is loaded. What a token file's metadata says of its codes is enough for another
program to use them: rates, sizes and the length before padding.

Shapes: S samples at 24 kHz, T latent frames, Q codebooks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional as F

from quintet.commands.token_header import (
    FORMAT_VERSION,
    Header,
    foreign,
    smallest_type,
)
from quintet.config import SAMPLE_RATE, AudioConfig, UserError, counted
from quintet.media.audio import audio_writer, open_audio
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.codec_folder import first_codebooks, load_codec
from quintet.tokenizers.streaming import State
from quintet.train.spectral import SCALES, MultiScaleMelLoss

SOUND_EXAMPLES = ".wav, .flac, .ogg, .opus, .mp3, .m4a, .mp4"  # those that people have
MAX_SECONDS = 12 * 3_600.0  # of a file: a working day; its codes are a few megabytes
PIECE_SAMPLES = 10 * SAMPLE_RATE  # sound goes through the codec in pieces: it needs 18 MB a second
LONG_SECONDS = 60.0  # from this length on, the progress is shown


def encode_sound(
    path: Path, model: str, codebooks: int | None = None
) -> tuple[np.ndarray, dict[str, str], str]:
    """Codes [T, Q] in the smallest type that holds them, their metadata, and a line that says
    what they cost and keep. The end is padded with silence to a whole frame.

    Args:
        codebooks: keep only so many of the codec's, the first ones; None keeps all.

    Raises:
        UserError: the file cannot be read, there is no such codec, or it has fewer codebooks.
    """
    codec = load_codec(model, codebooks)
    config, listener = codec.config, _Listener(codec)
    codes, samples, distance = [], 0, 0.0
    with (
        open_audio(path, MAX_SECONDS) as sound,
        _progress(f"encoding {path.name}", sound.seconds) as advance,
    ):
        for piece_S in _pieces(sound, max(1, PIECE_SAMPLES // config.hop) * config.hop):
            samples += len(piece_S)
            codes_TQ, difference = listener.hear(np.pad(piece_S, (0, -len(piece_S) % config.hop)))
            codes.append(codes_TQ.astype(smallest_type(config.codebook_size)))
            distance += difference * len(piece_S)
            advance(len(piece_S) / SAMPLE_RATE)
    whole_TQ = np.concatenate(codes)
    note = (
        f"{samples / SAMPLE_RATE:,.2f} s of sound in {counted(whole_TQ.size, 'code')}, "
        f"{config.bits_per_second:,.0f} bit/s; spectral distance {distance / samples:.3f} nepers"
    )
    return whole_TQ, _metadata(codec, samples), note


def _metadata(codec: AudioTokenizer, samples: int) -> dict[str, str]:
    config = codec.config
    return {
        "format_version": FORMAT_VERSION,
        "medium": "sound",
        "sample_rate": str(SAMPLE_RATE),
        "samples": str(samples),  # without the silence that fills the last frame
        "samples_per_frame": str(config.hop),
        "codec": fingerprint(codec),
        "frames_per_second": f"{SAMPLE_RATE / config.hop:.10g}",
        "num_codebooks": str(config.num_codebooks),
        "codebook_size": str(config.codebook_size),
        "bits_per_second": f"{config.bits_per_second:.10g}",
    }


def fingerprint(codec: AudioTokenizer) -> str:
    """Tells codecs of the same sizes apart: a hash of the first codebook, as it lies in files."""
    first_KD = codec.quantizer.layers[0].codebook
    return hashlib.sha256(first_KD.half().numpy().tobytes()).hexdigest()[:16]


def _pieces(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in pieces of `size`; the last may be shorter, none is empty."""
    waiting: list[np.ndarray] = []
    held = 0
    for block_S in blocks:
        waiting.append(block_S)
        held += len(block_S)
        if held >= size:
            joined = np.concatenate(waiting)
            whole = held - held % size
            yield from np.split(joined[:whole], whole // size)
            waiting, held = [joined[whole:].copy()], held - whole
    if held:
        yield np.concatenate(waiting)


class _Listener:
    """A codec that encodes a stream, and compares what its codes keep with what came."""

    def __init__(self, codec: AudioTokenizer) -> None:
        self.codec, self.compare = codec, MultiScaleMelLoss()
        self.heard: State = None
        self.voice: State = None

    @torch.no_grad()
    def hear(self, piece_S: np.ndarray) -> tuple[np.ndarray, float]:
        """Codes [T, Q] of whole frames, and the distance of what they give back: nepers between
        log-mel spectrograms, the mean over several resolutions."""
        real_BS = torch.from_numpy(piece_S)[None]
        codes_BTQ, self.heard = self.codec.encode(real_BS, self.heard)
        made_BS, self.voice = self.codec.decode(codes_BTQ, self.voice)
        # A piece shorter than the longest window is compared with silence behind it.
        behind = (0, max(0, max(SCALES) - real_BS.shape[1]))
        distance = self.compare(F.pad(made_BS, behind), F.pad(real_BS, behind))
        return codes_BTQ[0].numpy(), float(distance)


def decode_sound(
    tokens: np.ndarray, metadata: dict[str, str], path: Path, out: Path, model: str
) -> None:
    """Write the WAV that the tokens of the file `path` give; it appears whole or not at all.

    Raises:
        UserError: the tokens or what the metadata says of them do not fit the codec, or each
            other, or last too long; or `out` does not end in .wav.
    """
    codec = load_codec(model)
    length = _check(tokens, metadata, codec.config, path)
    if metadata.get("codec", fingerprint(codec)) != fingerprint(codec):
        raise foreign(path, metadata)
    codec = first_codebooks(codec, tokens.shape[1])
    size, voice = max(1, PIECE_SAMPLES // codec.config.hop), None
    out.parent.mkdir(parents=True, exist_ok=True)
    with audio_writer(out) as write, _progress(f"decoding {path.name}", length / SAMPLE_RATE) as go:
        for start in range(0, len(tokens), size):
            codes_BTQ = torch.from_numpy(tokens[start : start + size].astype(np.int64))[None]
            made_BS, voice = codec.decode(codes_BTQ, voice)
            samples_S = made_BS[0].numpy()[:length]
            write(samples_S)
            length -= len(samples_S)
            go(len(samples_S) / SAMPLE_RATE)


def _check(tokens: np.ndarray, metadata: dict[str, str], config: AudioConfig, path: Path) -> int:
    """Samples of the sound, after everything that a file can have wrong was judged."""
    header = Header(metadata, path)
    header.check_version()
    if tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer):
        raise foreign(path, metadata)
    if not tokens.size:
        raise UserError(f"{path} holds no sound; encode the file again.")
    ours = {"sample_rate": SAMPLE_RATE, "samples_per_frame": config.hop,
            "codebook_size": config.codebook_size}  # fmt: skip
    if any(header.number(key) not in (None, value) for key, value in ours.items()):
        raise foreign(path, metadata)
    if header.number("num_codebooks") not in (None, tokens.shape[1]):
        raise header.contradiction(
            f"num_codebooks is {metadata['num_codebooks']}, the tokens have {tokens.shape[1]:,}"
        )
    within = int(tokens.min()) >= 0 and int(tokens.max()) < config.codebook_size
    if tokens.shape[1] > config.num_codebooks or not within:
        raise foreign(path, metadata)
    most = len(tokens) * config.hop
    if most >= MAX_SECONDS * SAMPLE_RATE + config.hop:  # the last frame is padded
        raise UserError(
            f"{path} lasts longer than {MAX_SECONDS / 3_600:g} hours; encode the sound in parts."
        )
    return _length(header, most, config.hop)


def _length(header: Header, most: int, hop: int) -> int:
    length = header.number("samples")
    if length is None or not most - hop < length <= most:
        samples = header.metadata.get("samples", "")
        raise header.contradiction(f"samples is {samples[:20]!r}, the tokens hold {most:,}")
    return length


@contextmanager
def _progress(what: str, seconds: float | None) -> Iterator[Callable[[float], None]]:
    """A function that is told how many seconds of sound were done. On a terminal and for long
    sound, a bar on standard error shows it, and is gone in the end."""
    console = Console(stderr=True)
    shown = console.is_terminal and (seconds is None or seconds > LONG_SECONDS)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=None if seconds is None else math.ceil(seconds))
        yield lambda done: bar.advance(task, done)
