"""How like the voice that it should have the model speaks, and whether it is taken for another.

A log-mel spectrogram of what was said is laid over that of the same words in a voice, each
stretched to fit the other as well as it can (dynamic time warping, Sakoe and Chiba 1978); what is
left is the distance. The words are the expected ones, said by espeak-ng: so only answers that are
right are compared.

Shapes: M mel bins, S and T frames of 10 ms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from quintet.evals.recognizer import HOP, MEL_BINS, WINDOW
from quintet.media.speech import ASSISTANT_VOICE, TRAIN_THROATS, Voice, synthesize, throat
from quintet.tokenizers.bundle import Tokenizers
from quintet.train.spectral import LogMel

DECIBELS = 20 / np.log(10)  # of a neper
# Most that is told from silence: what lies lower is a voice's or a codec's murmur.
FLOOR = 60.0  # decibels below the loudest bin
OTHERS = 7  # voices beside the right one: at its speed and pitch, but for the assistant's own
_SPECTROGRAM = LogMel(WINDOW, MEL_BINS, HOP)


def candidates(seed: int, asked: Voice = ASSISTANT_VOICE) -> list[Voice]:
    """The voice that was asked for, then `OTHERS`: the assistant's own, if it is another, and of
    training's."""
    throats = np.random.default_rng((seed, 31)).choice(TRAIN_THROATS, OTHERS + 1, replace=False)
    others = [
        Voice(f"en-us+{name}", asked.speed, asked.pitch)
        for name in throats
        if name != throat(asked.name)
    ]
    own = [] if asked == ASSISTANT_VOICE else [ASSISTANT_VOICE]
    return [asked, *[*own, *others][:OTHERS]]


def through_codec(tokenizers: Tokenizers, sound: np.ndarray) -> np.ndarray:
    """`sound` (float32 [S]) encoded and decoded."""
    codes_TQ = tokenizers.encode_audio(sound)
    with torch.no_grad():
        made_BS, _ = tokenizers.audio.decode(torch.from_numpy(codes_TQ).long()[None])
    return made_BS[0].numpy()


def spectral_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Decibels between two sounds (float32 [samples], 24 kHz), mean over bins and the best path.

    Loudness as a whole does not count.
    """
    one_SM, other_TM = _bins(one), _bins(other)
    return _warped(np.abs(one_SM[:, None] - other_TM[None]).mean(-1))


def _bins(sound: np.ndarray) -> np.ndarray:
    """Decibels below the loudest bin, [T, M], not below `FLOOR`."""
    padded = np.pad(sound, (0, max(0, WINDOW - len(sound)))).astype(np.float32)
    padded /= max(1e-3, np.abs(padded).max())
    with torch.no_grad():
        mel_MT = _SPECTROGRAM(torch.from_numpy(padded)[None])[0].numpy() * DECIBELS
    bins_TM: np.ndarray = np.maximum(mel_MT - mel_MT.max(), -FLOOR).T
    return bins_TM


def _warped(cost_ST: np.ndarray) -> float:
    """The least mean cost of a path from corner to corner that never goes back.

    A diagonal step counts twice, so that every path has the same weight, S + T. Whole
    antidiagonals are worked out at once.
    """
    rows, columns = cost_ST.shape
    before, last = np.full(rows + 1, np.inf), np.full(rows + 1, np.inf)
    for diagonal in range(rows + columns - 1):
        low, high = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
        row = np.arange(low, high)
        cost = cost_ST[row, diagonal - row]
        # Entry r + 1 of `last` and `before` is the best up to row r of an earlier antidiagonal.
        along = np.minimum(last[row], last[row + 1]) + cost
        best = np.minimum(along, before[row] + 2 * cost)
        if diagonal == 0:
            best = 2 * cost
        before, last = last, np.full(rows + 1, np.inf)
        last[row + 1] = best
    return float(last[rows]) / (rows + columns)


def nearest(sound: np.ndarray, text: str, voices: Sequence[Voice]) -> tuple[int, float]:
    """Which of `voices` says `text` most like `sound`, and the distance to the first of them."""
    found = distances(sound, said_by(text, voices))
    return int(np.argmin(found)), found[0]


def said_by(text: str, voices: Sequence[Voice]) -> list[np.ndarray]:
    """Each of `voices` saying `text`, float32 [samples]."""
    return [synthesize(text, voice) for voice in voices]


def distances(sound: np.ndarray, said: Sequence[np.ndarray]) -> list[float]:
    """Decibels from `sound` to each of those that say the same."""
    return [spectral_distance(sound, one) for one in said]
