"""The peers of a speech codec at a few hundred bits a second: Codec2, and Opus at its lowest.

Each takes and returns float32 [samples] at 24 kHz; what comes back may be late and longer or
shorter than what went in.
"""

from __future__ import annotations

import shutil
import struct
import subprocess

import av
import numpy as np
import soxr

from quintet.config import SAMPLE_RATE

CODEC2_RATE = 8_000  # samples a second
CODEC2_MODES = {"450": 450.0, "700C": 700.0, "1200": 1_200.0, "3200": 3_200.0}  # bits a second
OPUS_BITS_PER_SECOND = 6_000  # the lowest that libopus takes
OPUS_RATE = 48_000  # of its decoder, and of the count of samples to skip


def codec2_is_here() -> bool:
    """Whether the programs of the Debian package codec2 are installed."""
    return all(shutil.which(name) is not None for name in ("c2enc", "c2dec"))


def codec2(sound: np.ndarray, mode: str) -> np.ndarray:
    """There and back through c2enc and c2dec, which speak 16-bit samples at 8 kHz."""
    low = np.clip(soxr.resample(sound, SAMPLE_RATE, CODEC2_RATE), -1, 1)
    low = np.pad(low, (0, CODEC2_RATE // 10))  # its last frame, and its delay
    codes = _pipe("c2enc", mode, np.round(low * 32_767).astype("<i2").tobytes())
    made = np.frombuffer(_pipe("c2dec", mode, codes), "<i2").astype(np.float32) / 32_768
    return _resample(made, CODEC2_RATE, SAMPLE_RATE)


def _pipe(program: str, mode: str, data: bytes) -> bytes:
    done = subprocess.run([program, mode, "-", "-"], input=data, capture_output=True, check=True)
    return done.stdout


def opus(sound: np.ndarray) -> np.ndarray:
    """There and back through libopus at `OPUS_BITS_PER_SECOND`, tuned for speech."""
    packets, skip = _opus_packets(sound)
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = OPUS_RATE, "mono"
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    made = np.concatenate([_mono(frame) for frame in frames])[skip:]
    return _resample(made, OPUS_RATE, SAMPLE_RATE)


def opus_rate(sounds: list[np.ndarray]) -> float:
    """Bits a second that the packets of `sounds` take on the average."""
    bits = 8 * sum(packet.size for sound in sounds for packet in _opus_packets(sound)[0])
    return bits * SAMPLE_RATE / sum(map(len, sounds))


def _opus_packets(sound: np.ndarray) -> tuple[list[av.Packet], int]:
    """The packets of 20 ms each, and how many samples of their sound to skip at 48 kHz."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE, "mono", "s16"
    encoder.bit_rate, encoder.options = OPUS_BITS_PER_SECOND, {"application": "voip"}
    encoder.open()
    head = encoder.extradata
    assert head is not None and head.startswith(b"OpusHead")
    skip: int = struct.unpack_from("<H", head, 10)[0]  # the encoder's delay: RFC 7845, 5.1

    size = encoder.frame_size
    # A whole number of frames, and one more to push the delayed end out.
    whole = np.pad(sound, (0, -len(sound) % size + size))
    whole = np.round(np.clip(whole, -1, 1) * 32_767).astype(np.int16)
    packets = []
    for start in range(0, len(whole), size):
        piece = np.ascontiguousarray(whole[None, start : start + size])
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        packets += encoder.encode(frame)
    return [*packets, *encoder.encode(None)], skip


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """float32 [samples] of a decoded frame, whole numbers or not."""
    samples = frame.to_ndarray()
    scale = 32_768 if samples.dtype == np.int16 else 1
    mono: np.ndarray = samples.reshape(-1).astype(np.float32) / scale
    return mono


def low_pass(sound: np.ndarray) -> np.ndarray:
    """The original without what lies above 4 kHz: the best that a codec of 8 kHz can reach."""
    return _resample(_resample(sound, SAMPLE_RATE, CODEC2_RATE), CODEC2_RATE, SAMPLE_RATE)


def _resample(sound: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    resampled: np.ndarray = soxr.resample(sound, rate, new_rate)
    return resampled.astype(np.float32)
