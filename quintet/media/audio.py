"""Sound files to arrays and back: whatever the file holds becomes 24 kHz, one channel.

Files are read and written in blocks, so that one of hours takes no more memory than one of
seconds; `read_audio` and `write_audio` are the same for sound that fits.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import soxr

from quintet.config import SAMPLE_RATE, UserError, counted
from quintet.media.decoders import Decoder, open_decoder
from quintet.whole_file import whole_file

MAX_SECONDS = 600.0  # of a file that a person hands in, unless the caller says otherwise
MAX_CHANNELS = 8
RATES = (4_000, 192_000)  # samples a second: lowest and highest that are read
FULL_SCALE = 2**15 - 1  # the 16-bit value of 1.0
# What libsndfile or FFmpeg may read; a film counts as its sound.
SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd",
    ".caf", ".w64", ".rf64", ".m4a", ".m4b", ".aac", ".ac3", ".eac3", ".amr", ".ape", ".wv", ".tta",
    ".mp2", ".wma", ".mka", ".weba", ".webm", ".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".avi",
    ".wmv", ".flv", ".mpg", ".mpeg", ".ts", ".ogv",
)  # fmt: skip


class AudioReader:
    """The sound of an opened file, to be iterated once: float32 blocks [S] at 24 kHz, one
    channel, within [-1, 1]; none is empty, and none is longer than a few seconds. With
    `two_channels`, blocks [S, 2] of a file that has two.

    A file that was cut off gives the sound before the cut, where its format allows that (WAV,
    AIFF, OGG, MP3, WebM do; FLAC, and M4A that ends with its index, do not).

    Raises:
        UserError: when made, for what the header claims; while iterating, for what the file
            turns out to hold.
    """

    def __init__(
        self, decoder: Decoder, name: str, max_seconds: float, two_channels: bool = False
    ) -> None:
        self._decoder, self._name, self._max_seconds = decoder, name, max_seconds
        self._kept = 2 if two_channels else 1
        self._check_rate(decoder.rate)
        self._check_channels(decoder.channels)
        if two_channels and decoder.channels != 2:
            raise UserError(
                f"{name} has {counted(decoder.channels, 'channel')}; give a conversation one for "
                "the person, on the left, and one for the assistant."
            )
        if decoder.seconds is not None and decoder.seconds > max_seconds:
            raise self._too_long()

    @property
    def channels(self) -> int:
        """Of the file, as the header claims."""
        return self._decoder.channels

    @property
    def seconds(self) -> float | None:
        """The length that the header claims; None if it claims none."""
        return self._decoder.seconds

    def __iter__(self) -> Iterator[np.ndarray]:
        resampler: soxr.ResampleStream | None = None
        heard, given = False, 0
        for rate, sound_S in self._sound():
            if not heard and rate != SAMPLE_RATE:
                resampler = soxr.ResampleStream(rate, SAMPLE_RATE, self._kept, dtype="float32")
            heard = True
            block_S = resampler.resample_chunk(sound_S) if resampler else sound_S
            if len(block_S):
                given += len(block_S)
                yield np.clip(block_S, -1, 1)
        if not heard:
            raise UserError(f"{self._name} is empty; give a file that holds sound.")
        if resampler:
            nothing = np.zeros((0, 2) if self._kept == 2 else 0, np.float32)
            tail_S = resampler.resample_chunk(nothing, last=True)
            given += len(tail_S)
            if len(tail_S):
                yield np.clip(tail_S, -1, 1)
        if not given:
            raise UserError(f"{self._name} is too short; give a file that holds sound.")

    def _sound(self) -> Iterator[tuple[int, np.ndarray]]:
        """The mean of the channels, or the two, at the file's rate. A header may lie: everything
        that it promised is judged again, and nothing is kept."""
        first, total = 0, 0
        for rate, block_SC in self._decoder.blocks():
            if rate != first:
                if first:
                    raise UserError(
                        f"{self._name} changes from {first:,} to {rate:,} samples a second on its "
                        "way; convert it to one rate."
                    )
                self._check_rate(rate)
                first = rate
            self._check_channels(block_SC.shape[1])
            total += len(block_SC)
            if total > self._max_seconds * rate:
                raise self._too_long()
            if not np.isfinite(block_SC).all():
                raise UserError(
                    f"{self._name} holds values that are not numbers; export the sound again."
                )
            sound_S = block_SC
            if self._kept == 1:
                sound_S = block_SC.mean(axis=1, dtype=np.float64)  # float32 might overflow
            elif block_SC.shape[1] != 2:
                raise UserError(f"{self._name} changes its channels on its way; convert it.")
            # Clipped here too: beyond 1 the resampler would ring.
            yield rate, np.clip(sound_S, -1, 1).astype(np.float32)

    def _check_rate(self, rate: int) -> None:
        if not RATES[0] <= rate <= RATES[1]:
            raise UserError(
                f"{self._name} has {rate:,} samples a second; convert it to between "
                f"{RATES[0]:,} and {RATES[1]:,}."
            )

    def _check_channels(self, channels: int) -> None:
        if channels > MAX_CHANNELS:
            raise UserError(
                f"{self._name} has {channels:,} channels; mix it down to at most {MAX_CHANNELS}."
            )

    def _too_long(self) -> UserError:
        hours, limit = self._max_seconds / 3_600, f"{self._max_seconds:g} seconds"
        if hours > 1:
            limit = f"{hours:g} hours"
        return UserError(f"{self._name} lasts longer than {limit}; cut it into shorter files.")


@contextmanager
def open_audio(
    path: Path | str, max_seconds: float = MAX_SECONDS, two_channels: bool = False
) -> Iterator[AudioReader]:
    """A sound file for reading in blocks; its header has been judged.

    Raises:
        UserError: the file is missing, is not sound, claims to last longer than `max_seconds`,
            or has an unusual rate or number of channels (with `two_channels`, other than two).
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a sound file, such as {path / 'question.wav'}.")
    if not path.is_file():
        raise UserError(f"There is no sound file {path}; check the name.")
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check its permissions."
        ) from None
    with file, open_audio_in(file, str(path), max_seconds, two_channels) as reader:
        yield reader


@contextmanager
def open_audio_in(
    file: IO[bytes], name: str, max_seconds: float = MAX_SECONDS, two_channels: bool = False
) -> Iterator[AudioReader]:
    """The same for an opened file that can seek; `name` is what messages call it.

    Raises:
        UserError: as `open_audio`.
    """
    with open_decoder(file, name) as decoder:
        yield AudioReader(decoder, name, max_seconds, two_channels)


def read_audio(path: Path | str, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """The sound of a file, float32 [samples] at 24 kHz, one channel, within [-1, 1].

    Raises:
        UserError: the file is missing, is not sound, is damaged or empty, lasts longer than
            `max_seconds`, or has an unusual rate or number of channels.
    """
    with open_audio(path, max_seconds) as reader:
        return np.concatenate(list(reader))


def read_audio_bytes(
    data: bytes, max_seconds: float = MAX_SECONDS, name: str = "The sound"
) -> np.ndarray:
    """The same for a file's content; `name` is what messages call it.

    Raises:
        UserError: as `read_audio`.
    """
    with open_audio_in(io.BytesIO(data), name, max_seconds) as reader:
        return np.concatenate(list(reader))


@contextmanager
def audio_writer(path: Path | str) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends float blocks [S] at 24 kHz to a 16-bit WAV.

    The file appears, whole, when the context ends; if it ends by an error, nothing does, and an
    older file stays. Values outside [-1, 1] are clipped.

    Raises:
        UserError: the name does not end in .wav.
    """
    path = Path(path)
    if path.suffix.lower() != ".wav":
        raise UserError(
            f"{path} is no name for the sound, which is written as WAV; end it in .wav."
        )
    with whole_file(path) as file, wave.open(file, "wb") as sound:
        sound.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))

        def write(block_S: np.ndarray) -> None:
            values_S = np.clip(np.asarray(block_S, np.float32), -1, 1) * FULL_SCALE
            sound.writeframesraw(np.rint(values_S).astype("<i2").tobytes())

        yield write
        sound.writeframes(b"")  # completes the header


def write_audio(path: Path | str, samples: np.ndarray) -> None:
    """Write float [samples] at 24 kHz as a 16-bit WAV; the file appears whole or not at all.

    Values outside [-1, 1] are clipped.
    """
    with audio_writer(path) as write:
        write(samples)
