"""Products by oneDNN are the same numbers as PyTorch's own, and learn the same."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from quintet import products
from quintet.products import Linear, linear

WORK = 1_000  # every product below counts as large
pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="this PyTorch was built without oneDNN",
)


@pytest.fixture
def by_onednn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whatever this processor prefers; rows of the products that took that way."""
    taken: list[int] = []
    product = products._product

    def counted(x: torch.Tensor, weight: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        taken.append(x.shape[0])
        assert products._is_dense(weight), "which takes a thousand times longer"
        return product(x, weight, *more)

    monkeypatch.setattr(products, "PAYS", True)
    monkeypatch.setattr(products, "LEAST_WORK", WORK)
    monkeypatch.setattr(products, "_product", counted)
    return taken


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(40,), (3, 17)])
def test_values_and_gradients_are_the_same(
    by_onednn: list[int], bias: bool, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer, x = Linear(24, 36, bias), torch.randn(*shape, 24, requires_grad=True)
    weights = torch.randn(*shape, 36)
    y = layer(x)
    (y * weights).sum().backward()
    assert len(by_onednn) == 3
    got = [y.detach(), x.grad, *(p.grad for p in layer.parameters())]
    x.grad = None
    layer.zero_grad(set_to_none=True)
    expected = F.linear(x, layer.weight, layer.bias)
    (expected * weights).sum().backward()
    assert len(by_onednn) == 3
    for mine, theirs in zip(
        got, [expected.detach(), x.grad, *(p.grad for p in layer.parameters())], strict=True
    ):
        assert mine is not None
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_frozen_weight_asks_for_no_gradient(by_onednn: list[int]) -> None:
    layer, x = Linear(24, 36).requires_grad_(False), torch.randn(40, 24, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None and len(by_onednn) == 2
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(40, 24))


def test_little_work_no_rows_and_half_precision_go_the_plain_way(by_onednn: list[int]) -> None:
    layer = Linear(24, 36)
    assert linear(torch.randn(1, 24), layer.weight).shape == (1, 36)
    assert layer(torch.randn(0, 24)).shape == (0, 36)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(40, 24)).dtype == torch.bfloat16
    assert layer.bfloat16()(torch.randn(40, 24).bfloat16()).dtype == torch.bfloat16
    assert not by_onednn


def test_what_onednn_is_slow_at_goes_the_plain_way(by_onednn: list[int]) -> None:
    """A matrix with holes between its rows; and rows with holes are copied first."""
    holes, x = torch.randn(36, 48)[:, ::2], torch.randn(40, 48)[:, ::2]
    expected = x @ holes.t()
    torch.testing.assert_close(linear(x, holes), expected)
    assert not by_onednn
    torch.testing.assert_close(linear(x, holes.contiguous()), expected, rtol=1e-5, atol=1e-5)
    assert len(by_onednn) == 1


def test_gradients_of_rows_with_holes_are_as_fast(by_onednn: list[int]) -> None:
    layer, x = Linear(24, 36), torch.randn(40, 48)[:, ::2]
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum(0).expand(36, 24), rtol=1e-5, atol=1e-5)
    assert len(by_onednn) == 2


def test_a_gradient_of_a_gradient_is_refused_and_not_zero(by_onednn: list[int]) -> None:
    layer, x = Linear(24, 36), torch.randn(40, 24, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


def test_a_single_vector_goes_the_plain_way(by_onednn: list[int]) -> None:
    layer, x = Linear(64, 36), torch.randn(64, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.detach().sum(0))
    assert not by_onednn


def test_compiled_it_is_the_same(by_onednn: list[int]) -> None:
    layer, x = Linear(24, 36), torch.randn(40, 24)
    compiled = torch.compile(layer, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    compiled(x).sum().backward()
    got = layer.weight.grad
    layer.weight.grad = None
    F.linear(x, layer.weight).sum().backward()
    torch.testing.assert_close(got, layer.weight.grad, rtol=1e-5, atol=1e-5)
