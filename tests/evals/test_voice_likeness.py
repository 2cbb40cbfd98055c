"""Distances between voices, and who is taken for whom."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from conftest import needs_world

from quintet.evals.voice_likeness import (
    FLOOR,
    OTHERS,
    _bins,
    _warped,
    candidates,
    nearest,
    spectral_distance,
)
from quintet.media.speech import ASSISTANT_VOICE, Voice, synthesize


def slow_warp(cost: np.ndarray) -> float:
    best = np.full(cost.shape, np.inf)
    for s, t in np.ndindex(*cost.shape):
        came = [2 * cost[s, t]] if s == t == 0 else []
        came += [best[s - 1, t] + cost[s, t]] if s else []
        came += [best[s, t - 1] + cost[s, t]] if t else []
        came += [best[s - 1, t - 1] + 2 * cost[s, t]] if s and t else []
        best[s, t] = min(came)
    return float(best[-1, -1]) / sum(cost.shape)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (7, 4), (4, 9), (8, 8)])
def test_the_best_path_is_that_of_a_plain_loop(shape: tuple[int, int]) -> None:
    cost = np.random.default_rng(0).random(shape)
    assert _warped(cost) == pytest.approx(slow_warp(cost), abs=1e-12)


def test_bins_are_decibels_below_the_loudest_down_to_the_floor() -> None:
    tone = np.sin(np.arange(12_000) / 9).astype(np.float32)
    bins_TM = _bins(np.concatenate([tone, 0.1 * tone]))
    loudest_T = bins_TM.max(1)
    assert loudest_T[5] == pytest.approx(0, abs=0.5)
    assert loudest_T[-5] == pytest.approx(-20, abs=0.5)
    assert bins_TM.min() == -FLOOR


@needs_world
def test_loudness_and_tempo_matter_little_and_another_throat_much() -> None:
    text = "Here is a butterfly."
    sound = synthesize(text, ASSISTANT_VOICE)
    assert spectral_distance(sound, sound) == 0
    assert spectral_distance(sound, 0.3 * sound) < 0.1
    slower = synthesize(text, Voice(ASSISTANT_VOICE.name, 115, ASSISTANT_VOICE.pitch))
    deeper = soxr.resample(sound, 1.0, 1.25)
    assert spectral_distance(sound, slower) < 0.5 * spectral_distance(sound, deeper)


@needs_world
def test_every_candidate_is_taken_for_itself() -> None:
    voices = candidates(0)
    assert voices[0] == ASSISTANT_VOICE and len(set(voices)) == OTHERS + 1
    for index, voice in enumerate(voices):
        said = synthesize("Here is a moon.", voice)
        best, distance = nearest(said, "Here is a moon.", voices)
        assert best == index
        assert (distance == 0) == (index == 0)


def test_no_sound_is_far_from_everything() -> None:
    sound = np.sin(np.arange(12_000) / 9).astype(np.float32)
    assert spectral_distance(np.zeros(0, np.float32), sound) > 5
