"""Attention of whole lines, compiled, is PyTorch's, backward, too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from quintet.model import whole_lines
from quintet.model.attention import attend
from quintet.model.whole_lines import MULTIPLE, attend_whole, suits

SHAPES = [
    (1, 1, 1, 1, MULTIPLE),
    (2, 47, 6, 2, 32),
    (1, 161, 4, 4, 64),
    (3, 90, 2, 1, 3 * MULTIPLE),
]


def drawn(batch: int, rows: int, heads: int, groups: int, width: int) -> list[Tensor]:
    """Queries, keys, values and a gradient [B, heads, T, E]."""
    draw = torch.Generator().manual_seed(rows)
    return [
        torch.randn(batch, rows, count, width, generator=draw).transpose(1, 2)
        for count in (heads, groups, groups, heads)
    ]


def window(batch: int, rows: int) -> Tensor:
    """Of some rows back, of more in each line, and of the first row; bool [B, 1, T, T]."""
    at = torch.arange(rows)
    back = at[:, None] - at
    seen = [(back >= 0) & ((back < 5 + 40 * line) | (at == 0)) for line in range(batch)]
    return torch.stack(seen)[:, None]


def with_gradients(attending, given: list[Tensor]) -> list[Tensor]:
    *leaves, gradient = (x.detach().clone() for x in given)
    for leaf in leaves:
        leaf.requires_grad_()
    made = attending(*leaves)
    made.backward(gradient)
    return [made.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_attention(shape: tuple[int, ...], masked: bool) -> None:
    given = drawn(*shape)
    mask = window(shape[0], shape[1]) if masked else None
    made = with_gradients(lambda q, k, v: attend_whole(q, k, v, mask), given)
    expected = with_gradients(
        lambda q, k, v: F.scaled_dot_product_attention(
            q, k, v, mask, is_causal=not masked, enable_gqa=True
        ),
        [x.double() for x in given],
    )
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_any_row_may_be_seen() -> None:
    """Also later ones: samples lie in a row in any order."""
    given = drawn(2, 85, 4, 2, 32)
    mask = torch.rand(2, 1, 85, 85, generator=torch.Generator().manual_seed(0)) < 0.1
    mask |= torch.eye(85, dtype=torch.bool)
    made = with_gradients(lambda q, k, v: attend_whole(q, k, v, mask), given)
    expected = with_gradients(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True), given
    )
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_row_that_sees_none_is_zero_and_has_no_gradient() -> None:
    given, mask = drawn(1, 90, 2, 1, 32), window(1, 90)
    mask[:, :, 3] = False
    mask[:, :, 40:80] = False  # a block of its own
    made, for_q, *others = with_gradients(lambda q, k, v: attend_whole(q, k, v, mask), given)
    blind = ~mask[0, 0].any(-1)
    assert not made[:, :, blind].any() and not for_q[:, :, blind].any()
    assert made[:, :, ~blind].all() and all(x.isfinite().all() for x in others)


def test_threads_change_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    given = drawn(3, 70, 4, 2, 32)
    alone = with_gradients(lambda q, k, v: attend_whole(q, k, v, None), given)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    shared = with_gradients(lambda q, k, v: attend_whole(q, k, v, None), given)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    one = with_gradients(lambda q, k, v: attend_whole(q, k, v, None), given)
    for first, second, third in zip(alone, shared, one, strict=True):
        assert torch.equal(first, second) and torch.equal(first, third)


def test_what_is_no_number_is_not_hidden() -> None:
    q, k, v, _ = drawn(1, 50, 2, 2, 32)
    k[0, 0, 20, 3] = torch.nan
    made = attend_whole(q, k, v, None)
    assert made[0, 0, :20].isfinite().all() and made[0, 0, 20:].isnan().all()
    assert made[0, 1].isfinite().all()


def test_the_operator_keeps_pytorchs_rules() -> None:
    q, k, v, _ = (x.transpose(1, 2) for x in drawn(2, 20, 4, 2, 16))
    given = [x.detach().requires_grad_() for x in (q, k, v)]
    for mask in (None, window(2, 20)):
        torch.library.opcheck(whole_lines._attend, (*given, mask))


def test_only_what_suits_takes_this_way(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, _ = drawn(2, 64, 4, 2, 32)
    assert not suits(q, k, v, None)  # too little
    monkeypatch.setattr(whole_lines, "LEAST_WORK", 1)
    mask = window(2, 64)
    assert suits(q, k, v, None) and suits(q, k, v, mask)
    assert not suits(q, k, v, mask.float()) and not suits(q, k, v, window(1, 64))
    assert not suits(q.double(), k.double(), v.double(), None)
    assert not suits(q, k.double(), v, None) and not suits(q, k, v.double(), None)
    assert not suits(q, k[:, :, :60], v[:, :, :60], None) and not suits(q, k, v[:, :, :60], None)
    assert not suits(*(x[..., :24] for x in (q, k, v)), None)
    assert not suits(*(x.to("meta") for x in (q, k, v)), None)
    with FakeTensorMode():
        assert not suits(*drawn(2, 64, 4, 2, 32)[:3], None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)  # of which four would have work
    assert not suits(q, k, v, None)


def test_what_does_not_fit_is_refused() -> None:
    q, k, v, _ = drawn(2, 20, 4, 2, 32)
    for given in [(q, k.double(), v), (q, k, v[:, :, :9]), (q[..., :24], k[..., :24], v[..., :24])]:
        with pytest.raises(AssertionError):
            attend_whole(*given, None)


def test_memory_may_lie_anyhow() -> None:
    """A mask of one line for all, a gradient of one number for all, rows from the middle."""
    q, k, v, _ = drawn(3, 70, 4, 2, 32)
    mask, gradient = window(1, 70).expand(3, -1, -1, -1), torch.ones(1).expand(3, 4, 70, 32)
    wide = [torch.cat([x, x], -1)[..., 32:] for x in (q, k, v)]
    made = with_gradients(lambda q, k, v: attend_whole(q, k, v, mask), [*wide, gradient])
    plain = [*(x.contiguous() for x in (q, k, v)), gradient.contiguous()]
    expected = with_gradients(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True), plain
    )
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e3, 1e8])
def test_scores_far_apart_or_beyond_any_number(scale: float) -> None:
    q, k, v, _ = drawn(1, 50, 2, 2, 32)
    made = attend_whole(scale * q, scale * k, v, None)
    expected = F.scaled_dot_product_attention(
        scale * q.double(), scale * k.double(), v.double(), is_causal=True
    )
    torch.testing.assert_close(made.double(), expected, rtol=1e-4, atol=1e-4)
    same = attend_whole(torch.full_like(q, 1e15), torch.full_like(k, -1e15), v, None)
    torch.testing.assert_close(same[0, 0, -1], v[0, 0].mean(0), rtol=1e-4, atol=1e-5)


def test_other_processors_give_the_same(tmp_path: Path) -> None:
    """With narrower registers, and tiles of fewer rows."""
    code = (
        "import sys, torch; from tests.model.test_whole_lines import *;"
        "given = drawn(2, 47, 6, 2, 32);"
        "made = with_gradients(lambda q, k, v: attend_whole(q, k, v, window(2, 47)), given);"
        "torch.save(made, sys.argv[1])"
    )
    given = drawn(2, 47, 6, 2, 32)
    here = with_gradients(lambda q, k, v: attend_whole(q, k, v, window(2, 47)), given)
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    made = tmp_path / "made.pt"
    subprocess.run([sys.executable, "-c", code, made], env=environment, check=True, timeout=300)
    for one, other in zip(torch.load(made, weights_only=True), here, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_model_learns_the_same_by_it(monkeypatch: pytest.MonkeyPatch, autocast: bool) -> None:
    given = [x.bfloat16() for x in drawn(2, 64, 4, 2, 32)] if autocast else drawn(2, 64, 4, 2, 32)

    def attending(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return attend(q, k, v, None)

    expected = with_gradients(attending, given)
    monkeypatch.setattr(whole_lines, "LEAST_WORK", 1)
    taken = []
    real = whole_lines._attend
    monkeypatch.setattr(whole_lines, "_attend", lambda *given: taken.append(1) or real(*given))
    made = with_gradients(attending, given)
    assert taken
    tolerance = 2e-2 if autocast else 1e-5
    for one, other in zip(made, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
