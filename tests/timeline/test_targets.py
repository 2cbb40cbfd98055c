"""What is asked at which row, on examples small enough to read."""

import numpy as np

from quintet.timeline.streams import Stream
from quintet.timeline.targets import (
    NOT_ASKED,
    Vocabulary,
    live_sample,
    next_row_sample,
    turn_sample,
)
from quintet.timeline.timeline import Timeline

VOCABULARY = Vocabulary(text_image_vocab_size=50, codebook_size=10)
QUIET, SILENT = VOCABULARY.text_no_output, VOCABULARY.audio_no_output
NO = NOT_ASKED


def _frames(*codes: int) -> np.ndarray:
    return np.array(codes)[:, None]


def test_every_tip_is_asked_both_heads() -> None:
    timeline = Timeline(1, 50)
    timeline.add_audio(Stream.AUDIO_IN, _frames(1, 2), 0)
    timeline.add_text(Stream.TEXT_OUT, [20, 21], 1)
    timeline.add_audio(Stream.AUDIO_OUT, _frames(3), 1)
    timeline.add_audio(Stream.AUDIO_IN, _frames(4, 5), 1)
    timeline.add_audio(Stream.AUDIO_IN, _frames(6, 7), 2)
    sample = live_sample(timeline.rows(), budget=4, frames_in=lambda step: 2, vocabulary=VOCABULARY)
    # Rows:                        in 1, in 2 (tip), 20, 21,    out 3,  4,  5 (tip), 6,  7
    assert sample.text_target.tolist() == [NO, 20, 21, QUIET, NO, NO, QUIET, NO, NO]
    # The audio head is asked where the text head fell silent, then after its own frame.
    assert sample.audio_target[:, 0].tolist() == [NO, NO, NO, 3, SILENT, NO, SILENT, NO, NO]


def test_a_full_budget_and_full_frames_are_not_asked_for_more() -> None:
    timeline = Timeline(1, 50)
    timeline.add_audio(Stream.AUDIO_IN, _frames(1), 0)
    timeline.add_text(Stream.TEXT_OUT, [20, 21], 1)
    timeline.add_audio(Stream.AUDIO_OUT, _frames(3), 1)
    timeline.add_audio(Stream.AUDIO_IN, _frames(4), 1)
    sample = live_sample(timeline.rows(), budget=2, frames_in=lambda step: 1, vocabulary=VOCABULARY)
    assert sample.text_target.tolist() == [20, 21, NO, NO, NO]
    assert sample.audio_target[:, 0].tolist() == [NO, NO, 3, NO, NO]


def test_turn_answers_end_with_no_output() -> None:
    timeline = Timeline(1, 50)
    timeline.add_text(Stream.TEXT_IN, [10], 0)
    timeline.add_text(Stream.TEXT_OUT, [20], 0)
    timeline.add_audio(Stream.AUDIO_OUT, _frames(3), 0)
    timeline.add_text(Stream.TEXT_IN, [11], 0)
    sample = turn_sample(timeline.turns(), VOCABULARY)
    assert sample.text_target.tolist() == [20, QUIET, NO, NO]
    assert sample.audio_target[:, 0].tolist() == [NO, 3, SILENT, NO]


def test_next_row_prediction_asks_the_head_of_the_next_row() -> None:
    timeline = Timeline(1, 50)
    timeline.add_text(Stream.TEXT_IN, [10, 11], 0)
    timeline.add_audio(Stream.AUDIO_IN, _frames(3, 4), 0)
    plain = next_row_sample(timeline.turns(), VOCABULARY)
    assert plain.text_target.tolist() == [11, NO, NO, NO]
    assert plain.audio_target[:, 0].tolist() == [NO, 3, 4, NO]
    both = next_row_sample(timeline.turns(), VOCABULARY, both_heads=True)
    assert both.text_target.tolist() == [11, QUIET, QUIET, NO]
    assert both.audio_target[:, 0].tolist() == [SILENT, 3, 4, NO]


def test_no_output_is_never_a_row() -> None:
    timeline = Timeline(1, 50)
    timeline.add_audio(Stream.AUDIO_IN, _frames(1, 2), 0)
    timeline.add_audio(Stream.AUDIO_IN, _frames(1, 2), 1)
    sample = live_sample(timeline.rows(), 4, lambda step: 2, VOCABULARY)
    assert sample.rows.tokens.max() < min(QUIET, SILENT)


def test_several_codebooks_and_frames_that_differ_by_step() -> None:
    """The text head answers with the first column; the frames asked for are those of the step that
    is answered."""
    timeline = Timeline(2, 50)
    timeline.add_audio(Stream.AUDIO_IN, np.array([[1, 2]]), 0)
    timeline.add_text(Stream.TEXT_OUT, [20], 1)
    timeline.add_audio(Stream.AUDIO_OUT, np.array([[3, 4]]), 1)
    timeline.add_audio(Stream.AUDIO_IN, np.array([[5, 6]]), 1)
    timeline.add_audio(Stream.AUDIO_OUT, np.array([[7, 8]]), 2)
    timeline.add_audio(Stream.AUDIO_IN, np.array([[9, 0]]), 2)
    frames = {1: 1, 2: 2}  # the first step is full with one frame, the second is not
    sample = live_sample(timeline.rows(), 4, frames.__getitem__, VOCABULARY)
    assert sample.text_target.tolist() == [20, QUIET, NO, QUIET, NO, NO]
    assert sample.audio_target.tolist() == [
        [NO, NO], [3, 4], [NO, NO], [7, 8], [SILENT, SILENT], [NO, NO],
    ]  # fmt: skip
    plain = next_row_sample(timeline.rows(), VOCABULARY)
    assert plain.text_target[0] == 20


def test_every_answer_of_a_conversation_is_asked_for() -> None:
    timeline = Timeline(1, 50)
    for said in (10, 20, 30):
        timeline.add_text(Stream.TEXT_IN, [said], 0)
        timeline.add_text(Stream.TEXT_OUT, [said + 1, said + 2], 0)
    sample = turn_sample(timeline.turns(), VOCABULARY)
    assert sample.text_target.tolist() == [11, 12, QUIET, 21, 22, QUIET, 31, 32, QUIET]
    assert sample.audio_target[:, 0].tolist() == [NO, NO, SILENT] * 3


def test_what_shards_have_written_keeps_its_meaning() -> None:
    assert NOT_ASKED == -100
