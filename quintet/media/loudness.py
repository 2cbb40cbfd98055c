"""Where somebody speaks in a short recording, by loudness over the recording's own noise.

What is as loud all the time is noise: speech has pauses.

Shapes: S samples at 24 kHz, F frames of 10 ms.
"""

from __future__ import annotations

import numpy as np

from quintet.config import SAMPLE_RATE

FRAME = SAMPLE_RATE // 100  # samples
FAINTEST = -60.0  # dB below full scale: what is fainter is never speech
ABOVE_NOISE = 8.0  # dB at least between noise and speech
SHARE = 0.3  # of the way from the noise to the loudest speech, in dB, at which speech begins
LONGEST_GAP = 0.35  # seconds that belong to the speech around them
SHORTEST = 0.08  # seconds: what is shorter is a click
MARGIN = 0.06  # seconds kept around speech: its first and last sounds are faint


def loudness(samples: np.ndarray) -> np.ndarray:
    """Of each frame, in dB of full scale [F]; a last frame that is not full counts as one."""
    padded = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)
    power = np.mean(np.square(padded, dtype=np.float64), axis=1)
    decibels: np.ndarray = 10 * np.log10(power + 1e-12)
    return decibels


def speech_spans(samples: np.ndarray) -> list[tuple[int, int]]:
    """First and end sample of each stretch of speech in [S], in order, with silence between."""
    if not len(samples):
        return []
    decibels = loudness(samples)
    noise, loudest = np.percentile(decibels, (10, 98))
    threshold = max(FAINTEST, noise + max(ABOVE_NOISE, SHARE * (loudest - noise)))
    edges = np.flatnonzero(np.diff(decibels > threshold, prepend=False, append=False))
    joined: list[list[int]] = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if joined and (start - joined[-1][1]) * FRAME < LONGEST_GAP * SAMPLE_RATE:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    margin = round(MARGIN * SAMPLE_RATE)
    return [
        (max(0, start * FRAME - margin), min(len(samples), end * FRAME + margin))
        for start, end in joined
        if (end - start) * FRAME >= SHORTEST * SAMPLE_RATE
    ]
