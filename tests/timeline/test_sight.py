"""Who sees whom where samples share a line, a window slides, or a prompt lasts; and packing."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.timeline.masks import FOREVER, NOBODY, line_sight, live_mask
from quintet.timeline.packing import pack
from quintet.timeline.rows import Rows
from quintet.timeline.streams import STREAMS, Modality, Stream
from quintet.timeline.targets import NOT_ASKED, Sample, Vocabulary, join, next_row_sample
from quintet.timeline.timeline import Timeline


def _heard(steps: int, each: int = 1) -> Rows:
    timeline = Timeline(num_codebooks=1, text_vocab_size=50)
    for step in range(steps):
        timeline.add_audio(Stream.AUDIO_IN, np.arange(each)[:, None], step)
    return timeline.rows()


def _sample(rows: int) -> Sample:
    return next_row_sample(_heard(rows), Vocabulary(50, 10))


def test_samples_of_a_line_do_not_see_one_another() -> None:
    sight = line_sight([[_heard(2), _heard(3)], [_heard(4)]])
    assert sight.document.tolist() == [[0, 0, 1, 1, 1], [0, 0, 0, 0, NOBODY]]
    assert NOBODY < 0  # no sample's number
    assert sight.rank.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert sight.step.tolist() == [[0, 1, 0, 1, 2], [0, 1, 2, 3, 0]]
    first, second = sight.dense()
    triangle = np.tri(5, dtype=bool)
    assert np.array_equal(first, np.block([
        [triangle[:2, :2], np.zeros((2, 3), bool)], [np.zeros((3, 2), bool), triangle[:3, :3]],
    ]))  # fmt: skip
    assert np.array_equal(second[:4, :4], triangle[:4, :4])
    assert not second[:4, 4].any() and second[4, 4]  # filler, which nobody else sees


def test_a_prompt_never_leaves_the_window() -> None:
    sight = line_sight([[_heard(1), _heard(6).shifted(-2, 0)]], window_steps=2)
    assert sight.step.tolist() == [[0, -2, -1, 0, 1, 2, 3]]
    assert sight.dense()[0, -1].tolist() == [False, True, True, False, False, True, True]
    mask = live_mask(_heard(5, each=2), window_steps=3)
    assert mask[-1].tolist() == [False] * 4 + [True] * 6  # its own step counted


def test_nothing_leaves_a_window_for_ever() -> None:
    assert FOREVER > 10 * 365 * 24 * 3600 * 2  # a decade of steps, and it fits 32 bits
    assert FOREVER < 2**31


def test_lines_of_a_sight_keep_their_window() -> None:
    sight = line_sight([[_heard(3)], [_heard(4)], [_heard(2)]], window_steps=2)
    part = sight.take(slice(1, 3))
    assert part.window_steps == 2 and np.array_equal(part.dense(), sight.dense()[1:])


@pytest.mark.parametrize(
    ("lengths", "room", "lines"),
    [
        ([3, 5, 2, 4], 7, [[5, 2], [4, 3]]),  # the longest first, each where there is room
        ([4, 4], 8, [[4, 4]]),  # to the last row
        ([4, 5], 8, [[5], [4]]),
        ([9, 2, 2], 4, [[9], [2, 2]]),  # one that is longer has a line of its own
        ([2, 3, 1], 0, [[3], [2], [1]]),
    ],
)
def test_packing(lengths: list[int], room: int, lines: list[list[int]]) -> None:
    packed = pack([_sample(length) for length in lengths], room)
    assert [[len(sample) for sample in line] for line in packed] == lines


def test_the_table_of_streams() -> None:
    out = {stream for stream in Stream if STREAMS[stream].is_output}
    assert out == {Stream.TEXT_OUT, Stream.AUDIO_OUT}
    assert [STREAMS[stream].holds for stream in Stream] == [
        Modality.TEXT, Modality.AUDIO, Modality.TEXT, Modality.IMAGE, Modality.AUDIO,
    ]  # fmt: skip
    # Written in shards: these numbers never change.
    assert [int(stream) for stream in Stream] == [0, 1, 2, 3, 4]
    assert [int(modality) for modality in Modality] == [0, 1, 2]


def test_rows_are_taken_and_shifted() -> None:
    rows = _heard(4)
    assert rows.take(np.array([2, 0])).step.tolist() == [2, 0]
    moved = rows.shifted(steps=5, positions=7)
    assert moved.step.tolist() == [5, 6, 7, 8] and moved.position.tolist() == [7, 8, 9, 10]
    assert moved.flag.tolist() == [0] * 4 and np.array_equal(moved.tokens, rows.tokens)


def test_joined_samples_stand_one_after_another() -> None:
    whole = join([_sample(2), _sample(3)])
    assert whole.rows.step.tolist() == [0, 1, 0, 1, 2]
    assert whole.audio_target[:, 0].tolist() == [0, NOT_ASKED, 0, 0, NOT_ASKED]
    assert len(whole.text_target) == 5 and len(whole) == 5


def test_positions_are_counted_by_modality_and_source() -> None:
    timeline = Timeline(num_codebooks=2, text_vocab_size=50)
    timeline.add_text(Stream.TEXT_IN, [1, 2], 0)
    timeline.add_image(Stream.TEXT_IN, np.array([3]), 0)
    timeline.add_text(Stream.TEXT_OUT, [4], 1)
    timeline.add_text(Stream.TEXT_IN, [5], 1)
    added = timeline.add_image(Stream.IMAGE_IN, np.array([[6, 7]]), 1)
    assert timeline.turns().position.tolist() == [0, 1, 0, 0, 2, 1, 2]
    assert added.tokens.tolist() == [[56, 0], [57, 0]]
