"""Sound files to blocks of samples at the file's own rate, by the first library that knows them.

libsndfile reads WAV, FLAC, OGG, Opus, MP3, AIFF; FFmpeg, through PyAV, reads what it does not:
AAC, M4A, and the sound of WebM, MP4, MKV and the like. Both get an opened file, never its name,
which FFmpeg might take for an address.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol

import av
import numpy as np
import soundfile

from quintet.config import UserError

BLOCK_SECONDS = 1  # what libsndfile is asked for at once; FFmpeg gives packets, which are shorter
# Of FFmpeg's formats only those that hold sound: a playlist would have it open other files.
FORMATS = (
    "aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dts", "eac3", "flac", "flv",
    "matroska", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "ogg", "rm", "tta", "w64", "wav",
    "wv",
)  # fmt: skip
# To know a file's streams, FFmpeg opens a decoder for each: none for pictures shall be opened.
CODECS = (
    "aac", "aac_fixed", "aac_latm", "ac3", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms",
    "adpcm_swf", "alac", "amrnb", "amrwb", "ape", "cook", "dca", "eac3", "flac", "gsm", "gsm_ms",
    "libopus", "mlp", "mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "mpc7", "mpc8",
    "nellymoser", "opus", "pcm_alaw", "pcm_bluray", "pcm_dvd", "pcm_f32be", "pcm_f32le",
    "pcm_f64be", "pcm_f64le", "pcm_mulaw", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le",
    "pcm_s32be", "pcm_s32le", "pcm_s8", "pcm_u8", "ralf", "real_144", "real_288", "sipr", "speex",
    "truehd", "tta", "vorbis", "wavpack", "wmalossless", "wmapro", "wmav1", "wmav2", "wmavoice",
)  # fmt: skip
# Where the length is written down; elsewhere FFmpeg guesses it, which is no reason to refuse.
TIMED_FORMATS = ("mov", "matroska", "asf", "avi")

Block = tuple[int, np.ndarray]  # samples a second, float32 [S, C]


class Decoder(Protocol):
    """An opened file: what its header claims, and its sound."""

    @property
    def rate(self) -> int:
        """Samples a second that the header claims."""

    @property
    def channels(self) -> int: ...

    @property
    def seconds(self) -> float | None:
        """The length that the header claims; None if it claims none, or nonsense."""

    def blocks(self) -> Iterator[Block]:
        """The sound from the beginning, once.

        Raises:
            UserError: the file is damaged before its end. What is merely cut off is no error
                where the library does not call it one: the sound before the cut comes.
        """


@contextmanager
def open_decoder(file: IO[bytes], name: str) -> Iterator[Decoder]:
    """The decoder of a seekable file; `name` is what messages call it.

    Raises:
        UserError: neither library knows the format, or there is no sound in it.
    """
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, RuntimeError, TypeError):  # TypeError: a name in .raw
        sound = None
    if sound is not None:
        with sound:
            yield _Sndfile(sound, name)
        return
    file.seek(0)
    options = {
        "format_whitelist": ",".join(FORMATS),
        "codec_whitelist": ",".join(CODECS),
        "protocol_whitelist": "none",
    }
    try:
        container = av.open(_Unnamed(file), "r", options=options, metadata_errors="ignore")
    except (av.FFmpegError, UnicodeError):
        raise UserError(
            f"{name} is not a sound file that can be read; use WAV, FLAC, OGG, MP3 or M4A."
        ) from None
    with container:
        if not container.streams.audio:
            raise UserError(f"{name} holds no sound; give a file that does.")
        yield _Ffmpeg(container, name)


class _Unnamed:
    """A file for FFmpeg: without its name, and a wrong place to seek is no exception."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read, self.tell = file.read, file.tell
        self._file = file

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # before the beginning, where a damaged file may point
            return -1


class _Sndfile:
    def __init__(self, sound: soundfile.SoundFile, name: str) -> None:
        self._sound, self._name = sound, name
        self.rate, self.channels = int(sound.samplerate), int(sound.channels)
        # A pipe or a broken header can claim an absurd length.
        known = self.rate > 0 and 0 < sound.frames < 2**62
        self.seconds = sound.frames / self.rate if known else None

    def blocks(self) -> Iterator[Block]:
        read = 0
        while True:
            try:
                block_SC = self._sound.read(
                    BLOCK_SECONDS * self.rate, dtype="float32", always_2d=True
                )
            except (soundfile.LibsndfileError, RuntimeError):
                raise _damaged(self._name, read / self.rate) from None
            if not len(block_SC):
                return
            read += len(block_SC)
            yield self.rate, block_SC


class _Ffmpeg:
    """The first audio stream of a container; its other streams are passed over undecoded."""

    def __init__(self, container: av.container.InputContainer, name: str) -> None:
        self._container, self._name = container, name
        self._stream = container.streams.audio[0]
        context = self._stream.codec_context
        if context is None:
            raise UserError(f"{name} holds sound of an unknown kind; convert it to WAV or FLAC.")
        self.rate, self.channels = context.sample_rate or 0, context.channels
        self.seconds = self._claimed()

    def _claimed(self) -> float | None:
        names = self._container.format.name.split(",")
        if not set(names) & set(TIMED_FORMATS):
            return None
        if self._stream.duration and self._stream.time_base:
            seconds = float(self._stream.duration * self._stream.time_base)
        else:
            seconds = (self._container.duration or 0) / av.time_base
        return seconds if seconds > 0 else None

    def blocks(self) -> Iterator[Block]:
        seconds, damaged = 0.0, False
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                damaged = True
                continue
            # A damaged last packet is where the file was cut; sound behind it means a gap. The
            # empty packet at the very end only makes the decoder give what it still holds.
            if damaged and frames and packet.size:
                raise _damaged(self._name, seconds)
            for frame in frames:
                if isinstance(frame, av.AudioFrame) and frame.samples:
                    seconds += frame.samples / frame.sample_rate
                    yield frame.sample_rate, _floats(frame)

    def _packets(self) -> Iterator[av.Packet]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                yield next(packets)
            except (StopIteration, av.FFmpegError):  # the end, or cut off between packets
                return


def _floats(frame: av.AudioFrame) -> np.ndarray:
    """float32 [S, C] of a decoded frame, whatever its sample format."""
    values = frame.to_ndarray()  # [C, S] if planar, else [1, S * C]
    channels = frame.layout.nb_channels
    values_SC = values.T if frame.format.is_planar else values.reshape(-1, channels)
    kind, bits = values.dtype.kind, 8 * values.dtype.itemsize
    if kind == "f":
        with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as such
            return np.asarray(values_SC, np.float32)
    middle = 2.0 ** (bits - 1)
    return ((values_SC.astype(np.float64) - (middle if kind == "u" else 0)) / middle).astype(
        np.float32
    )


def _damaged(name: str, seconds: float) -> UserError:
    return UserError(
        f"{name} is damaged {seconds:.1f} s after its beginning; export the sound again."
    )
