"""Sound as these APIs carry it: PCM16, or G.711 (µ-law and A-law) at 8 kHz, all in base64.

G.711 is two tables of 256 levels. Decoding looks a level up; encoding takes the nearest one.
"""

from __future__ import annotations

import base64
import binascii

import numpy as np
import soxr

from quintet.config import SAMPLE_RATE
from quintet.serve.api.problems import RequestError
from quintet.serve.protocol import encode_sound

TELEPHONE_RATE = 8_000
PCM, MULAW, ALAW = "audio/pcm", "audio/pcmu", "audio/pcma"


def _mulaw_levels() -> np.ndarray:
    """int [256]: the sample of each byte; the bits come inverted."""
    byte = ~np.arange(256) & 0xFF
    magnitude = (((byte & 0x0F) << 3) + 0x84 << ((byte >> 4) & 7)) - 0x84
    return np.where(byte & 0x80, -magnitude, magnitude)


def _alaw_levels() -> np.ndarray:
    """int [256]: the sample of each byte; every second bit comes inverted."""
    byte = np.arange(256) ^ 0x55
    exponent, mantissa = (byte >> 4) & 7, byte & 0x0F
    magnitude = np.where(
        exponent == 0,
        (mantissa << 4) + 8,
        (mantissa << 4) + 0x108 << np.maximum(exponent - 1, 0),
    )
    return np.where(byte & 0x80, magnitude, -magnitude)


LEVELS = {MULAW: _mulaw_levels(), ALAW: _alaw_levels()}
_ORDERED = {kind: np.argsort(levels, kind="stable") for kind, levels in LEVELS.items()}


def encode_g711(sound: np.ndarray, kind: str) -> bytes:
    """One byte for each sample of float32 [N]."""
    order = _ORDERED[kind]
    levels = LEVELS[kind][order]
    between = (levels[1:] + levels[:-1]) / 2
    samples = np.clip(sound, -1, 1) * 32_767
    return bytes(order[np.searchsorted(between, samples, side="right")].astype(np.uint8).tobytes())


def decode_base64(text: object, param: str) -> bytes:
    """The bytes of a field.

    Raises:
        RequestError: not base64.
    """
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise RequestError("The sound is not valid base64; send it again.", "invalid_audio", param)


class SoundDecoder:
    """A stream of bytes in pieces of any length to float32 [N] at 24 kHz."""

    def __init__(self, kind: str = PCM, rate: int = SAMPLE_RATE) -> None:
        self.kind, self.rate = kind, rate if kind == PCM else TELEPHONE_RATE
        self._half = b""  # of a sample that came in two pieces
        self._resampler = _resampler(self.rate, SAMPLE_RATE)

    def decode(self, data: bytes) -> np.ndarray:
        if self.kind == PCM:
            data = self._half + data
            whole = len(data) // 2 * 2
            data, self._half = data[:whole], data[whole:]
            sound = np.frombuffer(data, "<i2").astype(np.float32) / 32_768
        else:
            samples = LEVELS[self.kind][np.frombuffer(data, np.uint8)]
            sound = samples.astype(np.float32) / 32_768
        return self._resampler.resample_chunk(sound) if self._resampler else sound

    def finish(self) -> np.ndarray:
        """What the resampler kept back; the next piece begins another stream."""
        self._half = b""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        rest: np.ndarray = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        self._resampler = _resampler(self.rate, SAMPLE_RATE)
        return rest


class SoundEncoder:
    """float32 [N] at 24 kHz to bytes, piece after piece of one stream."""

    def __init__(self, kind: str = PCM, rate: int = SAMPLE_RATE) -> None:
        self.kind, self.rate = kind, rate if kind == PCM else TELEPHONE_RATE
        self._resampler = _resampler(SAMPLE_RATE, self.rate)

    def encode(self, sound: np.ndarray, last: bool = False) -> bytes:
        """`last` gives what the resampler kept back, too."""
        if self._resampler:
            sound = self._resampler.resample_chunk(sound.astype(np.float32), last=last)
        return encode_sound(sound) if self.kind == PCM else encode_g711(sound, self.kind)


def _resampler(source: int, target: int) -> soxr.ResampleStream | None:
    if source == target:
        return None
    return soxr.ResampleStream(source, target, 1, dtype="float32")
