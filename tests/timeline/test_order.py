"""The live order and its masks: the temporal boundary."""

import numpy as np
from conftest import make_config, make_timeline

from quintet.timeline.masks import live_mask
from quintet.timeline.streams import STREAMS, Modality, Stream
from quintet.timeline.timeline import Timeline, live_rank


def test_order_inside_a_step_is_outputs_then_inputs() -> None:
    timeline = Timeline(num_codebooks=2, text_vocab_size=100)
    for step in (1, 0):  # added late step first: order must not depend on when rows came
        timeline.add_audio(Stream.AUDIO_IN, np.ones((1, 2), int), step)
        timeline.add_image(Stream.IMAGE_IN, np.array([5]), step)
        timeline.add_text(Stream.TEXT_IN, [7], step)
        timeline.add_audio(Stream.AUDIO_OUT, np.ones((1, 2), int), step)
        timeline.add_text(Stream.TEXT_OUT, [8], step)
    rows = timeline.rows()
    order = [Stream.TEXT_OUT, Stream.AUDIO_OUT, Stream.TEXT_IN, Stream.IMAGE_IN, Stream.AUDIO_IN]
    assert rows.stream.tolist() == order * 2
    assert rows.step.tolist() == [0] * 5 + [1] * 5
    assert rows.tokens[rows.modality == Modality.IMAGE, 0].tolist() == [105, 105]


def test_rows_of_a_stream_and_step_keep_their_order() -> None:
    timeline = Timeline(1, 100)
    timeline.add_text(Stream.TEXT_OUT, [3, 1, 2], 0)
    timeline.add_text(Stream.TEXT_OUT, [9], 0)
    assert timeline.rows().tokens[:, 0].tolist() == [3, 1, 2, 9]
    assert timeline.rows().position.tolist() == [0, 1, 2, 3]


def test_mask_is_the_rule_spelled_out() -> None:
    """By cases, and from (step, in/out, stream, position) alone: what may row q see of row k?"""
    rows = make_timeline(make_config(), steps=6, seed=3).streams()
    allowed, window = live_mask(rows, window_steps=3), 3
    for q in range(len(rows)):
        for k in range(len(rows)):
            q_out = STREAMS[Stream(rows.stream[q])].is_output
            k_out = STREAMS[Stream(rows.stream[k])].is_output
            if rows.step[q] != rows.step[k]:
                sees = rows.step[k] < rows.step[q]
            elif q_out != k_out:
                sees = k_out  # inputs see the outputs of their step, never the other way
            elif rows.stream[q] != rows.stream[k]:
                sees = rows.stream[k] < rows.stream[q]
            else:
                sees = k <= q
            assert allowed[q, k] == (sees and rows.step[q] - rows.step[k] < window), (q, k)


def test_rank_inverts_order() -> None:
    rows = make_timeline(make_config(), steps=5, seed=1).streams()
    assert sorted(live_rank(rows)) == list(range(len(rows)))
    assert np.array_equal(np.argsort(live_rank(rows)), np.lexsort((rows.stream, rows.step)))
    backwards = rows.take(slice(None, None, -1))
    assert np.array_equal(
        np.argsort(live_rank(backwards)), np.lexsort((backwards.stream, backwards.step))
    )


def test_fractional_frames_belong_to_the_step_of_their_last_sample() -> None:
    audio = make_config((2, 4, 5, 8)).audio
    assert [audio.frames_in(step) for step in range(4)] == [18, 19, 19, 19]
    assert audio.frames_before(4) == 75  # a second
    steps = [audio.step_of(frame) for frame in range(75)]
    assert [steps.count(step) for step in range(4)] == [18, 19, 19, 19]
