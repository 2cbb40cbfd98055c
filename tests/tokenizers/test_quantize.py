"""Vector quantization against its definition."""

import copy
import math

import pytest
import torch

from quintet.tokenizers import search
from quintet.tokenizers.quantize import ResidualQuantizer, VectorQuantizer, perplexity


def test_search_is_exact_across_chunks(monkeypatch) -> None:
    monkeypatch.setattr(search, "BOUNDS", 4_096)
    torch.manual_seed(0)
    quantizer, vectors = VectorQuantizer(1_003, 8), torch.randn(500, 8)
    expected = torch.cdist(vectors.double(), quantizer.codebook.double()).argmin(1)
    assert torch.equal(quantizer.search(vectors), expected)


def test_residual_codes_add_up() -> None:
    torch.manual_seed(0)
    quantizer, latents = ResidualQuantizer(3, 32, 6).eval(), torch.randn(2, 40, 6)
    quantizer.fill(latents.flatten(0, 1))
    codes = quantizer.encode(latents)
    assert codes.shape == (2, 40, 3)
    quantized, same, _ = quantizer(latents)
    assert torch.equal(same, codes)
    torch.testing.assert_close(quantizer.decode(codes), quantized)
    errors = [
        float((latents - sum(
            layer.codebook[codes[..., q]] for q, layer in enumerate(quantizer.layers[: n + 1])
        )).square().mean())
        for n in range(3)
    ]  # fmt: skip
    assert errors[0] > errors[1] > errors[2]


def test_gradient_passes_straight_through() -> None:
    quantizer = VectorQuantizer(16, 4).eval()
    vectors = torch.randn(5, 4, requires_grad=True)
    quantized, _, _ = quantizer(vectors)
    quantized.sum().backward()
    assert torch.equal(vectors.grad, torch.ones(5, 4))


def test_gradient_does_not_grow_with_the_books() -> None:
    torch.manual_seed(0)
    latents = torch.randn(2, 5, 4, requires_grad=True)
    quantized, _, _ = ResidualQuantizer(3, 16, 4).eval()(latents)
    quantized.sum().backward()
    assert torch.equal(latents.grad, torch.ones_like(latents))


def test_the_first_books_alone() -> None:
    torch.manual_seed(0)
    quantizer, latents = ResidualQuantizer(3, 32, 6).eval(), torch.randn(2, 40, 6)
    codes = quantizer.encode(latents)
    for count in (1, 2, 3):
        assert torch.equal(quantizer.encode(latents, count), codes[..., :count])
        summed = sum(quantizer.layers[q].codebook[codes[..., q]] for q in range(count))
        torch.testing.assert_close(quantizer.decode(codes[..., :count]), summed)
    assert quantizer.decode(codes[:, :0]).shape == (2, 0, 6)
    for wrong in (codes[..., :0], codes - 32, codes + 32):
        with pytest.raises(AssertionError):
            quantizer.decode(wrong)
    with pytest.raises(AssertionError):
        quantizer.encode(latents, 4)


def test_dropped_books_neither_add_nor_learn() -> None:
    torch.manual_seed(0)
    quantizer, latents = ResidualQuantizer(3, 16, 4), torch.randn(4, 10, 4)
    alone = copy.deepcopy(quantizer)
    quantized, codes, commitment = quantizer(latents, torch.tensor([1, 1, 2, 2]))
    assert (codes >= 0).any(1).sum(1).tolist() == [1, 1, 2, 2]
    assert (codes[..., 2] == -1).all() and (codes[:2, :, 1] == -1).all()
    before = alone.layers[2].codebook.clone()
    assert torch.equal(quantizer.layers[2].codebook, before)  # nobody used it
    first = alone.layers[0]
    torch.testing.assert_close(quantized[:2], first.codebook[codes[:2, :, 0]])
    residual = latents - first.codebook[codes[..., 0]]
    rest = residual[2:] - alone.layers[1].codebook[codes[2:, :, 1]]
    torch.testing.assert_close(quantized[2:], latents[2:] - rest)
    mean = (residual.square().mean(2).sum() + rest.square().mean(2).sum()) / 60
    torch.testing.assert_close(commitment, mean)
    alone.layers[1](residual[2:].flatten(0, 1))  # learns from those who used it
    torch.testing.assert_close(quantizer.layers[1].codebook, alone.layers[1].codebook)


def test_codebook_follows_the_moving_averages() -> None:
    torch.manual_seed(0)
    # A decay of 0.9 for batches of 20 vectors.
    quantizer = VectorQuantizer(8, 3, memory=20 / (8 * -math.log(0.9)))
    codebook, size = quantizer.codebook.clone(), torch.ones(8)
    total = codebook.clone()
    for _ in range(5):
        vectors = torch.randn(20, 3)
        ids = torch.cdist(vectors, codebook).argmin(1)
        hot = torch.nn.functional.one_hot(ids, 8).float()
        size = 0.9 * size + 0.1 * hot.sum(0) * 8 / 20
        total = 0.9 * total + 0.1 * hot.T @ vectors * 8 / 20
        codebook = total / size[:, None]
        quantizer(vectors)
        torch.testing.assert_close(quantizer.codebook, codebook)
        torch.testing.assert_close(quantizer.cluster_size, size)


def test_an_unused_code_restarts_on_the_data() -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 2, patience=50)  # vectors a code: three batches of 64
    quantizer.codebook.copy_(torch.tensor([[0.0, 0], [1, 0], [0, 1], [99, 99]]))
    quantizer.vector_sum.copy_(quantizer.codebook)
    for _ in range(6):
        quantizer(torch.rand(64, 2))
    assert quantizer.codebook.abs().max() < 2
    quantizer.eval()
    before = quantizer.codebook.clone()
    quantizer(torch.rand(64, 2))
    assert torch.equal(quantizer.codebook, before)  # evaluation never learns


def test_perplexity_counts_codes_in_use() -> None:
    assert math.isclose(perplexity(torch.arange(8).repeat(3), 32), 8, rel_tol=1e-6)
    assert math.isclose(perplexity(torch.zeros(9, dtype=torch.long), 32), 1, rel_tol=1e-6)


def test_memory_and_patience_are_counted_in_vectors_a_code() -> None:
    small, large = VectorQuantizer(16, 2), VectorQuantizer(1_024, 2)
    decay, restart = small.pace(10)
    assert large.pace(640) == (decay, 64 * restart)
    assert math.isclose(small.pace(20)[0], decay**2)


def test_codes_move_alike_whatever_the_batch() -> None:
    """Vectors a code until the codes have moved halfway, for batches of few and of many."""
    moved = []
    for batch in (64, 1_024):
        torch.manual_seed(0)
        quantizer, seen = VectorQuantizer(64, 2, patience=1e9), 0
        quantizer.fill(torch.randn(1_024, 2))
        start = quantizer.codebook.mean(0)
        while float((quantizer.codebook.mean(0) - start)[0]) < 0.15:
            quantizer(torch.randn(batch, 2) + torch.tensor([0.5, 0.0]))
            seen += batch
        moved.append(seen)
    assert 0.6 < moved[0] / moved[1] < 1.6, moved


def test_a_batch_that_is_not_finite_leaves_no_trace() -> None:
    quantizer = VectorQuantizer(8, 3)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(torch.full((5, 3), torch.nan))
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())
