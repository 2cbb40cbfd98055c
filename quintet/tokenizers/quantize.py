"""Vector quantization: exact nearest-neighbour search, codebooks kept by moving averages.

Codebooks follow the data by exponential moving averages (van den Oord et al. 2017, appendix
A.1); a code that nothing has chosen for a while restarts at a vector of the current batch.
Both start from real encoder outputs (`fill`), because a codebook that starts elsewhere
collapses to a handful of codes.

Shapes: N vectors, D = latent_dim, K = codebook_size, Q = num_codebooks, B batch, T frames.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SEARCH_CHUNK = 8_192  # codes compared at once: bounds memory to N x 8,192 scores


class VectorQuantizer(nn.Module):
    """One codebook. `forward` is straight-through and, in training mode, learns the codebook.

    Args:
        decay: of the moving averages, per training batch.
        restart_age: batches without use after which a code restarts.
    """

    codebook: Tensor
    cluster_size: Tensor
    vector_sum: Tensor
    age: Tensor

    def __init__(
        self, codebook_size: int, latent_dim: int, decay: float = 0.99, restart_age: int = 40
    ) -> None:
        super().__init__()
        self.decay = decay
        self.restart_age = restart_age
        self.register_buffer("codebook", torch.randn(codebook_size, latent_dim))
        self.register_buffer("cluster_size", torch.ones(codebook_size))
        self.register_buffer("vector_sum", self.codebook.clone())
        self.register_buffer("age", torch.zeros(codebook_size))

    @torch.no_grad()
    def search(self, vectors_ND: Tensor) -> Tensor:
        """Index of the nearest code of each vector, [N], exact (ties: the lowest index)."""
        best_score = vectors_ND.new_full((len(vectors_ND),), -torch.inf)
        best_id = torch.zeros(len(vectors_ND), dtype=torch.long, device=vectors_ND.device)
        for start in range(0, len(self.codebook), SEARCH_CHUNK):
            codes_KD = self.codebook[start : start + SEARCH_CHUNK]
            # Largest x.c - |c|^2/2 is the smallest |x - c|^2.
            half_norm_K = 0.5 * codes_KD.square().sum(1)
            score, ids = torch.addmm(-half_norm_K, vectors_ND, codes_KD.T).max(1)
            better = score > best_score
            best_score = torch.where(better, score, best_score)
            best_id = torch.where(better, ids + start, best_id)
        return best_id

    @torch.no_grad()
    def fill(self, vectors_ND: Tensor, iterations: int = 10) -> None:
        """Set the codebook by k-means on at least K vectors."""
        size = len(self.codebook)
        assert len(vectors_ND) >= size, f"{len(vectors_ND)} vectors cannot fill {size} codes"
        self.codebook.copy_(vectors_ND[torch.randperm(len(vectors_ND))[:size]])
        for _ in range(iterations):
            ids = self.search(vectors_ND)
            count = torch.bincount(ids, minlength=size).to(vectors_ND.dtype)
            total = torch.zeros_like(self.codebook).index_add_(0, ids, vectors_ND)
            mean = total / count.clamp(min=1)[:, None]
            self.codebook.copy_(torch.where((count > 0)[:, None], mean, self.codebook))
        self.cluster_size.fill_(1.0)
        self.vector_sum.copy_(self.codebook)
        self.age.zero_()

    @torch.no_grad()
    def _update(self, vectors_ND: Tensor, ids_N: Tensor) -> None:
        size = len(self.codebook)
        count = torch.bincount(ids_N, minlength=size).to(vectors_ND.dtype)
        total = torch.zeros_like(self.codebook).index_add_(0, ids_N, vectors_ND)
        self.cluster_size.lerp_(count, 1 - self.decay)
        self.vector_sum.lerp_(total, 1 - self.decay)
        self.age.add_(1).masked_fill_(count > 0, 0)
        used = self.cluster_size > 1e-4
        mean = self.vector_sum / self.cluster_size.clamp(min=1e-4)[:, None]
        self.codebook.copy_(torch.where(used[:, None], mean, self.codebook))
        dead = torch.nonzero(self.age > self.restart_age)[:, 0]
        dead = dead[: len(vectors_ND) // 2]  # more than half a batch would copy duplicates
        if len(dead):
            chosen = vectors_ND[torch.randperm(len(vectors_ND))[: len(dead)]]
            self.codebook[dead] = chosen
            # A restarted code enters with the mean weight, so that one batch cannot drag it away.
            weight = self.cluster_size.mean().clamp(min=1e-3)
            self.cluster_size[dead] = weight
            self.vector_sum[dead] = chosen * weight
            self.age[dead] = 0

    def forward(self, vectors_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantized vectors [N, D] (straight-through), ids [N], commitment loss."""
        ids = self.search(vectors_ND)
        quantized = self.codebook[ids]
        if self.training:
            self._update(vectors_ND.detach(), ids)
        commitment = (vectors_ND - quantized).square().mean()
        return vectors_ND + (quantized - vectors_ND).detach(), ids, commitment


class ResidualQuantizer(nn.Module):
    """Q codebooks in a row; each quantizes what the ones before it left over."""

    layers: Any  # nn.ModuleList of VectorQuantizer; its type forgets what it holds

    def __init__(self, num_codebooks: int, codebook_size: int, latent_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            VectorQuantizer(codebook_size, latent_dim) for _ in range(num_codebooks)
        )

    @torch.no_grad()
    def fill(self, vectors_ND: Tensor) -> None:
        """Fill every codebook in turn from at least K vectors."""
        residual = vectors_ND
        for layer in self.layers:
            layer.fill(residual)
            residual = residual - layer.codebook[layer.search(residual)]

    @torch.no_grad()
    def encode(self, latents_BTD: Tensor) -> Tensor:
        """Codes [B, T, Q], int64."""
        batch, frames, width = latents_BTD.shape
        residual, codes = latents_BTD.reshape(-1, width), []
        for layer in self.layers:
            ids = layer.search(residual)
            residual = residual - layer.codebook[ids]
            codes.append(ids)
        return torch.stack(codes, dim=-1).reshape(batch, frames, len(self.layers))

    def decode(self, codes_BTQ: Tensor) -> Tensor:
        """Latents [B, T, D]: the sum of the chosen codes."""
        books = enumerate(self.layers)
        return torch.stack([layer.codebook[codes_BTQ[..., q]] for q, layer in books]).sum(0)

    def forward(self, latents_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantized latents [B, T, D] (straight-through), codes [B, T, Q], commitment loss."""
        batch, frames, width = latents_BTD.shape
        residual = latents_BTD.reshape(-1, width).float()
        quantized, codes, commitment = torch.zeros_like(residual), [], residual.new_zeros(())
        with torch.autocast(residual.device.type, enabled=False):  # the search must be exact
            for layer in self.layers:
                chosen, ids, loss = layer(residual)
                quantized = quantized + chosen
                residual = residual - chosen.detach()
                codes.append(ids)
                commitment = commitment + loss
        shape = (batch, frames)
        return (
            quantized.reshape(*shape, width),
            torch.stack(codes, dim=-1).reshape(*shape, len(self.layers)),
            commitment / len(self.layers),
        )


def perplexity(ids: Tensor, codebook_size: int) -> float:
    """Effective number of codes in use: exp of the entropy of their frequencies."""
    share = torch.bincount(ids.reshape(-1), minlength=codebook_size).double()
    share = share / share.sum()
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))
