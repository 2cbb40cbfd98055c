"""Sessions side by side in one cache equal each alone; what leaves makes room, what must stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import make_model, make_timeline
from torch import Tensor

from quintet.config import OmniConfig
from quintet.model import graphs
from quintet.model.attention import block_mask, dense_mask
from quintet.model.cache import KVCache
from quintet.model.embedding import RowTensors
from quintet.model.omni import Omni
from quintet.timeline.masks import FOREVER, line_sight, live_mask, live_sight
from quintet.timeline.rows import Rows, concatenate

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def _pieces(rows: Rows, rng: np.random.Generator) -> list[Rows]:
    """`rows` in pieces of one to four, none across steps."""
    pieces, start = [], 0
    while start < len(rows):
        end = min(len(rows), start + int(rng.integers(1, 5)))
        same = np.flatnonzero(rows.step[start:end] != rows.step[start])
        end = start + int(same[0]) if len(same) else end
        pieces.append(rows.take(slice(start, end)))
        start = end
    return pieces


def _fill(piece: Rows | None, like: Rows, width: int) -> Rows:
    """`piece` made as long as the longest of its turn; what is added is nobody's."""
    rows = piece if piece is not None else like.take(slice(0, 0))
    return concatenate([rows, *[like.take(slice(0, 1))] * (width - len(rows))])


def _without_a_gpu(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """As `graphs.capture`, whose replays are run again."""
    hidden = run()

    def replay() -> None:
        hidden.copy_(run())

    return hidden, replay


@torch.no_grad()
@pytest.mark.parametrize("replayed", [False, True])
def test_sessions_side_by_side_equal_each_alone(
    config: OmniConfig, model: Omni, monkeypatch: pytest.MonkeyPatch, replayed: bool
) -> None:
    """Of different lengths, in pieces of different lengths, with a window, joining and leaving."""
    model.cuda_graphs = replayed
    monkeypatch.setattr(graphs, "capture", _without_a_gpu)
    monkeypatch.setattr(graphs, "LEAST", 8)
    window, rng = 3, np.random.default_rng(0)
    tables = [make_timeline(config, steps, steps).rows() for steps in (9, 5, 7)]
    expected = [
        model(RowTensors.from_rows([t]), torch.from_numpy(live_mask(t, window)))[0] for t in tables
    ]
    cache = KVCache(config.model, 128, batch=2)
    waiting = list(range(len(tables)))
    seats: list[tuple[int, list[Rows]] | None] = [None, None]
    heard: dict[int, list[Tensor]] = {index: [] for index in waiting}
    while waiting or any(seats):
        for seat in range(2):
            if seats[seat] is None and waiting:
                index = waiting.pop(0)
                cache.leave(seat)
                seats[seat] = (index, _pieces(tables[index], rng))
        turn = [
            None if seat is None or rng.random() < 0.3 else seat[1].pop(0) for seat in seats
        ]  # some sit a turn out
        for seat, piece in enumerate(turn):
            if piece is not None:
                cache.slide(int(piece.step[0]) - window + 1, seat)
        width = max([len(piece) for piece in turn if piece is not None], default=0)
        if not width:
            continue
        is_row = np.array([[i < len(p or ()) for i in range(width)] for p in turn])
        filled = [_fill(piece, tables[0], width) for piece in turn]
        hidden_BTD = model(RowTensors.from_rows(filled), cache=cache, is_row_BT=is_row)
        for seat, piece in enumerate(turn):
            if piece is not None:
                index, left = seats[seat]  # type: ignore[misc]
                heard[index].append(hidden_BTD[seat, : len(piece)])
                if not left:
                    seats[seat] = None
    for index, hidden_ND in enumerate(expected):
        torch.testing.assert_close(torch.cat(heard[index]), hidden_ND, **CLOSE)
    if replayed:  # lengths of pieces and powers of two, of which there are few
        assert cache.graphs is not None
        assert {slots for _, slots in cache.graphs.recorded} <= {8, 16, 32, 64, 128}
        assert 3 < len(cache.graphs.recorded) <= 4 * 5


@torch.no_grad()
def test_a_cache_follows_the_weights(config: OmniConfig, model: Omni) -> None:
    """Sessions read them where training and loading write them."""
    rows = RowTensors.from_rows([make_timeline(config, 3, 0).rows()])
    before = model(rows, cache=KVCache(config.model, 128))
    for parameter in model.parameters():
        parameter.mul_(1.1)
    after = model(rows, cache=KVCache(config.model, 128))
    torch.testing.assert_close(after, model(rows), **CLOSE)
    assert not torch.allclose(before, after, atol=1e-2)


@torch.no_grad()
def test_nothing_moves_and_nothing_grows(config: OmniConfig, model: Omni) -> None:
    rows, cache = make_timeline(config, 60, 0).rows(), KVCache(config.model, 200)
    storage, most = cache.keys.data_ptr(), 0
    for step in range(60):
        cache.slide(step - 2)
        model(RowTensors.from_rows([rows.take(rows.step == step)]), cache=cache)
        assert set(cache.held()) == set(range(max(0, step - 2), step + 1))
        most = max(most, int(np.flatnonzero(cache.order[0] >= 0)[-1]) + 1)
    largest = max(int((abs(rows.step - step) < 3).sum()) for step in range(60))
    assert most <= largest and cache.keys.data_ptr() == storage


@torch.no_grad()
def test_the_system_prompt_stays(config: OmniConfig, model: Omni) -> None:
    rows, window = make_timeline(config, 9, 4).rows().shifted(-1, 0), 2
    prompt = rows.step < 0
    mask = live_mask(rows, window)
    assert mask[-1, prompt].all() and not mask[-1, rows.step == 0].any()
    expected_ND = model(RowTensors.from_rows([rows]), torch.from_numpy(mask))[0]
    cache, hidden = KVCache(config.model, 128), []
    for step in range(-1, 8):
        cache.slide(step - window + 1)
        piece = rows.take(rows.step == step)
        hidden.append(model(RowTensors.from_rows([piece]), cache=cache)[0])
    cache.make_room(128 - int(prompt.sum()))  # all but the prompt
    assert len(cache.held()) == prompt.sum()
    torch.testing.assert_close(torch.cat(hidden), expected_ND, **CLOSE)


@torch.no_grad()
def test_blocks_equal_the_dense_mask(config: OmniConfig, model: Omni) -> None:
    """FlexAttention's block masks, as a GPU takes them: the concatenated streams, and several
    samples in one line, with a window."""
    timelines = [make_timeline(config, steps, steps) for steps in (6, 4, 5)]
    streams = timelines[0].streams()
    prompted = streams.shifted(-1, 0)
    lines = [[timelines[1].rows(), timelines[2].rows()], [timelines[0].rows()]]
    packed = [concatenate(line) for line in lines]
    for tables, sight in (
        ([streams], live_sight(streams, FOREVER)),
        ([prompted], live_sight(prompted, 3)),
        (packed, line_sight(lines, 3)),
    ):
        rows = RowTensors.from_rows(tables)
        dense = model(rows, dense_mask(sight))
        torch.testing.assert_close(model(rows, block_mask(sight, "cpu")), dense, **CLOSE)


@torch.no_grad()
def test_samples_of_one_line_do_not_see_each_other(config: OmniConfig, model: Omni) -> None:
    tables = [make_timeline(config, steps, steps).rows() for steps in (6, 4, 5)]
    packed = RowTensors.from_rows([concatenate(tables)])
    together_ND = model(packed, dense_mask(line_sight([tables])))[0]
    alone = [model(RowTensors.from_rows([rows]))[0] for rows in tables]
    torch.testing.assert_close(together_ND, torch.cat(alone), **CLOSE)


@torch.no_grad()
def test_sessions_run_on_the_weights_that_were_loaded_last(config: OmniConfig) -> None:
    """Also where loading puts other tensors in the place of the old."""
    rows = RowTensors.from_rows([make_timeline(config, 2, 0).rows()])
    first, second = make_model(config), make_model(config, seed=1)

    def heard(model: Omni) -> Tensor:
        return model(rows, cache=KVCache(config.model, 128))

    assert not torch.equal(heard(first), heard(second))
    first.load_state_dict(second.state_dict(), assign=True)
    assert torch.equal(heard(first), heard(second))
