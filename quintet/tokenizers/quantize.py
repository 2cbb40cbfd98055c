"""Vector quantization: exact nearest-neighbour search, codebooks kept by moving averages.

Codebooks follow the data by exponential moving averages (van den Oord et al. 2017, appendix
A.1); a code that nothing has chosen for a while restarts at a vector of the current batch.
Both start from real encoder outputs (`fill`), because a codebook that starts elsewhere
collapses to a handful of codes. How far the averages look back, and how long a code may be idle,
is counted in vectors a code: what is right for 1,024 entries is then right for 65,536.

Shapes: N vectors, D = latent_dim, K = codebook_size, Q = num_codebooks, B batch, T frames.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from quintet.tokenizers.search import CodeIndex, left_over

# What only training needs, by name: weights that are shared leave them out.
LEARNING = ("cluster_size", "vector_sum", "age")


class VectorQuantizer(nn.Module):
    """One codebook. `forward` is straight-through and, in training mode, learns the codebook.

    Args:
        memory: vectors a code that the moving averages look back.
        patience: vectors a code that pass before an idle code restarts.
    """

    codebook: Tensor
    cluster_size: Tensor
    vector_sum: Tensor
    age: Tensor

    def __init__(
        self, codebook_size: int, latent_dim: int, memory: float = 14.0, patience: float = 6.0
    ) -> None:
        super().__init__()
        self.memory, self.patience = memory, patience
        self.register_buffer("codebook", torch.randn(codebook_size, latent_dim))
        self.register_buffer("cluster_size", torch.ones(codebook_size))
        self.register_buffer("vector_sum", self.codebook.clone())
        self.register_buffer("age", torch.zeros(codebook_size))
        self._index: CodeIndex | None = None  # of the codebook as it was at the last search

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *more: Any) -> None:
        """As for any module; but without `LEARNING`, the codebook counts as just filled."""
        codebook_KD = state_dict.get(prefix + "codebook")
        if codebook_KD is not None:
            size_K = torch.ones_like(codebook_KD[:, 0])
            started = {"cluster_size": size_K, "vector_sum": codebook_KD, "age": 0 * size_K}
            for name in LEARNING:
                state_dict.setdefault(prefix + name, started[name])
        super()._load_from_state_dict(state_dict, prefix, *more)

    @torch.no_grad()
    def search(self, vectors_ND: Tensor) -> Tensor:
        """Index of the nearest code of each vector, [N], exact (ties: the lowest index)."""
        if self._index is None or not self._index.fits(self.codebook):
            # In training the codebook changes at every step; only a large batch repays rounding.
            self._index = CodeIndex(self.codebook, not self.training or len(vectors_ND) >= 1_024)
        return self._index.nearest(vectors_ND)

    @torch.no_grad()
    def fill(self, vectors_ND: Tensor, iterations: int = 10) -> None:
        """Set the codebook by k-means on at least K vectors; those that are no numbers, as of a
        poisoned sample, leave no trace."""
        size = len(self.codebook)
        assert len(vectors_ND) >= size, f"{len(vectors_ND)} vectors cannot fill {size} codes"
        vectors_ND = vectors_ND[vectors_ND.isfinite().all(1)]
        if len(vectors_ND) < size:
            return  # the encoder is broken, which the loop will notice
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

    def pace(self, count: int) -> tuple[float, float]:
        """Decay of the averages over a batch of `count` vectors; vectors until a restart."""
        size = len(self.codebook)
        return math.exp(-count / (self.memory * size)), self.patience * size

    @torch.no_grad()
    def _update(self, vectors_ND: Tensor, ids_N: Tensor) -> None:
        if not vectors_ND.isfinite().all():
            return  # the loop drops such a batch, and must not find it here
        decay, restart_age = self.pace(len(vectors_ND))
        count_K = torch.bincount(ids_N, minlength=len(self.codebook)).to(vectors_ND.dtype)
        # A code of the mean use has size 1, as when filled, whatever the batch holds.
        share = len(self.codebook) / len(vectors_ND)
        self.cluster_size.lerp_(count_K * share, 1 - decay)
        # One pass over [K, D], in place. The mean of a code that nothing has chosen does not move,
        # since its sum and its size shrink alike: only the chosen rows are written.
        self.vector_sum.mul_(decay)
        self.vector_sum.index_add_(0, ids_N, vectors_ND, alpha=(1 - decay) * share)
        chosen = torch.nonzero(count_K)[:, 0]
        self.codebook[chosen] = self.vector_sum[chosen] / self.cluster_size[chosen, None]
        self.age.add_(len(vectors_ND)).masked_fill_(count_K > 0, 0)
        dead = torch.nonzero(self.age > restart_age)[:, 0]
        dead = dead[: len(vectors_ND) // 2]  # more than half a batch would copy duplicates
        if len(dead):
            chosen = vectors_ND[torch.randperm(len(vectors_ND))[: len(dead)]]
            self.codebook[dead] = chosen
            # A restarted code enters with the mean weight, so that one batch cannot drag it away.
            weight = self.cluster_size.mean()
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
        residual = vectors_ND[vectors_ND.isfinite().all(1)]
        for layer in self.layers:
            layer.fill(residual)
            residual = residual - layer.codebook[layer.search(residual)]

    @torch.no_grad()
    def encode(self, latents_BTD: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Codes [B, T, Q], int64; with `num_codebooks`, of the first so many books only."""
        count = len(self.layers) if num_codebooks is None else num_codebooks
        assert 1 <= count <= len(self.layers), f"{count} of {len(self.layers)} codebooks"
        batch, frames, width = latents_BTD.shape
        residual, codes = latents_BTD.reshape(-1, width).float(), []
        for layer in self.layers[:count]:
            ids = layer.search(residual)
            residual = left_over(residual, layer.codebook, ids)
            codes.append(ids)
        return torch.stack(codes, dim=-1).reshape(batch, frames, count)

    def decode(self, codes_BTQ: Tensor) -> Tensor:
        """Latents [B, T, D]: the sum of the chosen codes, of all books or the first few."""
        count = codes_BTQ.shape[-1]
        assert 1 <= count <= len(self.layers), f"{count} of {len(self.layers)} codebooks"
        size = len(self.layers[0].codebook)
        in_range = not codes_BTQ.numel() or (codes_BTQ.min() >= 0 and codes_BTQ.max() < size)
        assert in_range, f"a code is not in 0..{size - 1}"
        latents = self.layers[0].codebook[codes_BTQ[..., 0]]
        for number in range(1, count):
            latents = latents + self.layers[number].codebook[codes_BTQ[..., number]]
        return latents

    def forward(
        self, latents_BTD: Tensor, books_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantized latents [B, T, D] (straight-through), codes [B, T, Q], commitment loss.

        Args:
            books_B: how many books, 1..Q, each sample uses (quantizer dropout); all by default.
                The others add nothing to it, do not learn from it, and their codes are -1.
                The commitment is the mean over the books in use.
        """
        batch, frames, width = latents_BTD.shape
        inputs = latents_BTD.reshape(-1, width).float()
        residual, quantized = inputs, torch.zeros_like(inputs)
        codes, losses, weights = [], [], []
        books_N = None if books_B is None else books_B.repeat_interleave(frames)
        with torch.autocast(inputs.device.type, enabled=False):  # the search must be exact
            for number, layer in enumerate(self.layers):
                ids_N = torch.full_like(residual[:, 0], -1, dtype=torch.long)
                rows = slice(None) if books_N is None else torch.nonzero(books_N > number)[:, 0]
                used = residual[rows]
                if len(used):
                    chosen, ids, loss = layer(used)
                    ids_N[rows] = ids
                    residual = residual.clone()
                    residual[rows] = used - chosen.detach()
                    quantized[rows] += chosen.detach()
                    losses.append(loss * len(used))
                    weights.append(len(used))
                codes.append(ids_N)
        uses = sum(weights)
        commitment = torch.stack(losses).sum() / uses if uses else inputs.sum() * 0
        # Identity for the gradient, however many books there are.
        quantized = quantized + (inputs - inputs.detach())
        shape = (batch, frames)
        return (
            quantized.reshape(*shape, width),
            torch.stack(codes, dim=-1).reshape(*shape, len(self.layers)),
            commitment,
        )


def perplexity(ids: Tensor, codebook_size: int) -> float:
    """Effective number of codes in use: exp of the entropy of their frequencies."""
    share = torch.bincount(ids.reshape(-1), minlength=codebook_size).double()
    share = share / share.sum()
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))
