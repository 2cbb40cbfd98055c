"""Turning queries and keys: a peer's rotation, relative, and without end."""

from __future__ import annotations

import torch
from transformers.models.gpt_neox.modeling_gpt_neox import rotate_half

from quintet.model.rotary import turn, turns

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def _heads(seed: int, rows: int = 5, width: int = 16) -> torch.Tensor:
    return torch.randn(2, rows, 3, 4, width, generator=torch.Generator().manual_seed(seed))


def _at(place: int, step: int, width: int = 16) -> torch.Tensor:
    return turns(torch.tensor([[place]]), torch.tensor([[step]]), width)


def test_equals_a_peer_whose_pairs_lie_half_a_head_apart() -> None:
    x = _heads(0)
    angles = turns(torch.arange(10).view(2, 5), torch.arange(10).view(2, 5) // 3, 16)
    cos, sin = (torch.cat([part, part], -1)[:, :, None, None] for part in angles.unbind(-1))
    apart = torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1)
    peer = apart * cos + rotate_half(apart) * sin
    ours = turn(x, angles)
    torch.testing.assert_close(torch.cat([ours[..., 0::2], ours[..., 1::2]], -1), peer, **CLOSE)


def test_halves_are_turned_in_full_precision() -> None:
    x, angles = _heads(1), turns(torch.arange(10).view(2, 5), torch.arange(10).view(2, 5), 16)
    half = x.bfloat16()  # rounded once, at the end
    assert torch.equal(turn(half, angles), turn(half.float(), angles).bfloat16())


def test_periods_reach_from_two_rows_or_steps_to_65_536() -> None:
    half_a_turn = torch.tensor([-1.0, 0.0])
    for first, at in ((0, lambda value: _at(value, 0)), (4, lambda value: _at(0, value))):
        torch.testing.assert_close(at(1)[0, 0, first], half_a_turn, **CLOSE)
        torch.testing.assert_close(at(2**15)[0, 0, first + 3], half_a_turn, **CLOSE)


def test_only_how_far_apart_matters_also_after_hours() -> None:
    width = 32  # whose periods are no whole numbers
    q, k = _heads(2, 1, width), _heads(3, 1, width)

    def product(place: int, step: int) -> torch.Tensor:
        """Of a query there, and a key 7 rows and 2 steps before it."""
        return (turn(q, _at(place, step, width)) * turn(k, _at(place - 7, step - 2, width))).sum(-1)

    early, late = product(9, 3), product(3_000_009, 40_003)
    torch.testing.assert_close(late, early, rtol=1e-4, atol=1e-4)
    nearer = (turn(q, _at(9, 3, width)) * turn(k, _at(3, 1, width))).sum(-1)
    earlier = (turn(q, _at(9, 3, width)) * turn(k, _at(2, 0, width))).sum(-1)
    assert not torch.allclose(early, nearer, atol=1e-2)
    assert not torch.allclose(early, earlier, atol=1e-2)
