"""How close a decoded sound is to its original: five scores, and the alignment before them.

Every sound here is float32 [samples] at 24 kHz. The order of `SCORES` is that of every list of
figures.
"""

from __future__ import annotations

import warnings

import numpy as np
import soxr
import torch
from pesq import PesqError, pesq  # type: ignore[import-untyped]
from pystoi import stoi  # type: ignore[import-untyped]

from benchmarks import Score
from quintet.config import SAMPLE_RATE
from quintet.train.spectral import MultiScaleMelLoss

LARGEST_DELAY = 0.08  # seconds: speech codecs look up to 40 ms ahead
KEPT = 0.5  # correlation of waves: Opus at 6 kbit/s has 0.8, Codec2 0.05
STOI_GAVE_UP = 1e-5  # what pystoi returns where too little is left after it cut the silence
DECIBELS_OF_NOTHING = -60.0  # SI-SDR of a silent output, which is minus infinity


SCORES = (
    Score("PESQ-WB", "PESQ-WB"),  # ITU-T P.862.2, 16 kHz: 1.04 to 4.64
    Score("PESQ-NB", "PESQ-NB"),  # ITU-T P.862.1, 8 kHz: 1.02 to 4.55
    Score("STOI", "STOI"),  # intelligibility, Taal et al. 2011: to 1
    Score("SI-SDR", "dB"),  # Le Roux et al. 2019
    Score("log-mel distance", "nepers", less=True),  # the training's, mean over its scales
)
_MEL = MultiScaleMelLoss()


def find_delay(originals: list[np.ndarray], decoded: list[np.ndarray]) -> int:
    """By how many samples a codec's outputs are late (negative: early); the same in all files.

    Where the waves' cross-correlation, averaged over the files, is largest within
    `LARGEST_DELAY` either way, if the codec keeps waves at all (`KEPT`). A parametric codec makes
    waves of its own, which fit by chance anywhere: then where the loudness curves fit best.
    """
    pairs = list(zip(originals, decoded, strict=True))
    shift, correlation = _best_shift(pairs)
    if correlation < KEPT:
        shift, _ = _best_shift([(_loudness(x), _loudness(y)) for x, y in pairs])
    return shift


def _best_shift(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[int, float]:
    """The shift in samples of the largest mean normalized correlation, and that correlation."""
    most = round(LARGEST_DELAY * SAMPLE_RATE)
    shifts = np.arange(-most, most + 1)
    total = np.zeros(len(shifts))
    for original, decoded in pairs:
        size = 2 ** (len(original) + len(decoded) + most).bit_length()  # no wrapping around
        spectrum = np.fft.rfft(original, size).conj() * np.fft.rfft(decoded, size)
        scale = float(np.linalg.norm(original) * np.linalg.norm(decoded))
        total += np.fft.irfft(spectrum, size)[shifts % size] / max(scale, 1e-9)
    best = int(np.argmax(total))
    return int(shifts[best]), float(total[best]) / len(pairs)


def _loudness(sound: np.ndarray) -> np.ndarray:
    """Root of the mean magnitude around each sample, less its mean."""
    window = np.hanning(SAMPLE_RATE // 50)
    curve = np.sqrt(np.convolve(np.abs(sound), window / window.sum(), "same"))
    centred: np.ndarray = curve - curve.mean()
    return centred


def align(decoded: np.ndarray, delay: int, length: int) -> np.ndarray:
    """`decoded` moved earlier by `delay` samples, and fit to `length`."""
    return fit(decoded[delay:] if delay >= 0 else np.pad(decoded, (-delay, 0)), length)


def fit(sound: np.ndarray, length: int) -> np.ndarray:
    """`sound` cut to `length`, or silence added to its end."""
    cut = sound[:length]
    return np.pad(cut, (0, length - len(cut))).astype(np.float32)


def si_sdr(original: np.ndarray, decoded: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in decibels, without means."""
    original, decoded = original - original.mean(), decoded - decoded.mean()
    energy = float(np.dot(original, original))
    target = original * (float(np.dot(decoded, original)) / max(energy, 1e-12))
    noise = decoded - target
    ratio = float(np.dot(target, target)) / max(float(np.dot(noise, noise)), 1e-12)
    return max(DECIBELS_OF_NOTHING, 10 * float(np.log10(max(ratio, 1e-12))))


def score(original: np.ndarray, decoded: np.ndarray) -> list[float]:
    """The figures of `SCORES` for sounds of one length; not a number where a score gives up."""
    wide, narrow = (
        [_resample(sound, rate) for sound in (original, decoded)] for rate in (16_000, 8_000)
    )
    with torch.no_grad():
        distance = _MEL(torch.from_numpy(decoded)[None], torch.from_numpy(original)[None])
    return [
        _pesq(16_000, wide[0], wide[1], "wb"),
        _pesq(8_000, narrow[0], narrow[1], "nb"),
        _stoi(original, decoded),
        si_sdr(original, decoded),
        float(distance),
    ]


def _resample(sound: np.ndarray, rate: int) -> np.ndarray:
    resampled: np.ndarray = soxr.resample(sound, SAMPLE_RATE, rate)
    return resampled


def _pesq(rate: int, original: np.ndarray, decoded: np.ndarray, band: str) -> float:
    if not decoded.any():  # its level would be a division by zero
        return float("nan")
    try:
        return float(pesq(rate, original, decoded, band))
    except PesqError:  # it found no utterance, or too short a sound
        return float("nan")


def _stoi(original: np.ndarray, decoded: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it gave up, which is seen below
        value = float(stoi(original, decoded, SAMPLE_RATE))
    return float("nan") if value == STOI_GAVE_UP else value
