"""A speaker's rows: before step 0, and asked nothing."""

from __future__ import annotations

import numpy as np

from quintet.config import AudioConfig
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import NOT_ASKED, Vocabulary, live_sample
from quintet.timeline.timeline import Timeline, speaker_rows

AUDIO = AudioConfig(strides=(5, 5, 8, 10), num_codebooks=1, codebook_size=10)  # 3 frames a step


def test_a_speakers_rows_end_where_the_clock_begins() -> None:
    rows = speaker_rows(np.arange(7)[:, None], AUDIO)
    assert rows.step.tolist() == [-3, -3, -3, -2, -2, -2, -1]
    assert rows.position.tolist() == [-7, -6, -5, -4, -3, -2, -1]
    assert rows.tokens[:, 0].tolist() == list(range(7))
    assert not rows.flag.any() and (rows.modality == Modality.AUDIO).all()
    assert len(speaker_rows(np.zeros((0, 1), int), AUDIO)) == 0


def test_a_speaker_counts_for_nothing_that_comes_after() -> None:
    vocabulary = Vocabulary(50, 10)
    with_speaker, without = Timeline(1, 50), Timeline(1, 50)
    assert len(with_speaker.add_speaker(np.ones((4, 1), int), AUDIO)) == 4
    for timeline in (with_speaker, without):
        for step in range(3):
            timeline.add_audio(Stream.AUDIO_IN, np.full((3, 1), step), step)
        timeline.add_text(Stream.TEXT_OUT, [7], 1)
    sample, plain = (
        live_sample(one.rows(), 4, AUDIO.frames_in, vocabulary) for one in (with_speaker, without)
    )
    assert sample.rows.step[:4].tolist() == [-2, -2, -2, -1]
    assert (sample.text_target[:4] == NOT_ASKED).all()
    assert (sample.audio_target[:4] == NOT_ASKED).all()
    for name in ("step", "position", "stream"):
        assert np.array_equal(getattr(sample.rows, name)[4:], getattr(plain.rows, name))
    assert np.array_equal(sample.text_target[4:], plain.text_target)
    assert np.array_equal(sample.audio_target[4:], plain.audio_target)
