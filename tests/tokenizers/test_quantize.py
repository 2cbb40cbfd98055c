"""Vector quantization against its definition."""

import math

import torch

from quintet.tokenizers import quantize
from quintet.tokenizers.quantize import ResidualQuantizer, VectorQuantizer, perplexity


def test_search_is_exact_across_chunks(monkeypatch) -> None:
    monkeypatch.setattr(quantize, "SEARCH_CHUNK", 100)
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


def test_an_unused_code_restarts_on_the_data() -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 2, restart_age=3)
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
