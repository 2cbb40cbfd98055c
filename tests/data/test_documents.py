"""Spoken lines of documents: how far the noise lies below the voice."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from conftest import make_config, make_tokenizers, needs_world

from quintet.config import STEP_SAMPLES
from quintet.data.documents import NOISE_BELOW, DocumentMaker, Material


@needs_world
def test_noise_lies_below_the_voice_as_far_as_it_says() -> None:
    config, heard = make_config(), list[np.ndarray]()
    maker = DocumentMaker(config, make_tokenizers(config), Material({}, {}))
    maker.tokenizers = SimpleNamespace(encode_audio=heard.append)  # type: ignore[assignment]
    for seed in range(40):
        maker.speech_of("hello.", np.random.default_rng(seed))
    below = []
    for sound in heard:
        assert len(sound) % STEP_SAMPLES == 0
        after = sound[-STEP_SAMPLES:]  # nobody speaks any more
        if after.any():
            below.append(20 * np.log10(np.abs(sound).max() / np.std(after)))
    nearest, farthest = NOISE_BELOW
    assert 20 < len(below) < 40  # some have no noise
    assert nearest - 4 < min(below) < nearest + 10 and farthest - 10 < max(below) < farthest + 4
