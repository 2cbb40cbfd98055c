"""Ways to learn a codebook, with the interface of `VectorQuantizer`; see `benchmarks.codebooks`.

Shapes: N vectors, D = latent_dim, K = codebook_size, Q codebooks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintet.tokenizers.quantize import VectorQuantizer, perplexity
from quintet.tokenizers.search import CodeIndex

LEARNED_RATE = 10.0  # of SimVQ's linear map, beside all else


class SimVQ(nn.Module):
    """Codes are a frozen random base, moved all together by one learned map."""

    base: Tensor

    def __init__(self, codebook_size: int, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("base", torch.randn(codebook_size, latent_dim) * latent_dim**-0.5)
        self.map = nn.Linear(latent_dim, latent_dim, bias=False)
        nn.init.eye_(self.map.weight)

    @property
    def codebook(self) -> Tensor:
        """[K, D], differentiable."""
        return cast(Tensor, self.map(self.base))

    @torch.no_grad()
    def search(self, vectors_ND: Tensor) -> Tensor:
        return CodeIndex(self.codebook).nearest(vectors_ND)

    def fill(self, vectors_ND: Tensor, iterations: int = 1) -> None:
        """As large as what it must quantize."""
        self.map.weight.mul_(vectors_ND.std() / self.codebook.std())

    def forward(self, vectors_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ids_N = self.search(vectors_ND)
        chosen_ND = self.codebook[ids_N]
        commitment = (vectors_ND - chosen_ND.detach()).square().mean()
        learning = (vectors_ND.detach() - chosen_ND).square().mean()
        return chosen_ND, ids_N, commitment + 4 * learning


class Factorized(nn.Module):
    """Vectors are mapped to 8 dimensions and the unit sphere, where the codes are."""

    def __init__(self, codebook_size: int, latent_dim: int, code_dim: int = 8) -> None:
        super().__init__()
        self.down = nn.Linear(latent_dim, code_dim)
        self.up = nn.Linear(code_dim, latent_dim)
        self.table = nn.Parameter(torch.randn(codebook_size, code_dim))

    @torch.no_grad()
    def search(self, vectors_ND: Tensor) -> Tensor:
        wanted_ND = F.normalize(self.down(vectors_ND))
        return CodeIndex(F.normalize(self.table)).nearest(wanted_ND)

    def fill(self, vectors_ND: Tensor, iterations: int = 1) -> None:
        """Nothing: it starts at random."""

    def forward(self, vectors_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ids_N = self.search(vectors_ND)
        wanted_ND, chosen_ND = F.normalize(self.down(vectors_ND)), F.normalize(self.table[ids_N])
        commitment = (wanted_ND - chosen_ND.detach()).square().mean()
        learning = (wanted_ND.detach() - chosen_ND).square().mean()
        back_ND = self.up(wanted_ND + (chosen_ND - wanted_ND).detach())
        rebuilding = (vectors_ND.detach() - back_ND).square().mean()
        return back_ND, ids_N, commitment + 4 * learning + 4 * rebuilding


class PerBatch(VectorQuantizer):
    """Moving averages over batches, however few vectors a batch has for each code."""

    def pace(self, count: int) -> tuple[float, float]:
        return 0.99, 40.0 * count


WAYS: dict[str, Any] = {
    "ema": VectorQuantizer, "ema-batch": PerBatch, "simvq": SimVQ, "factorized": Factorized
}  # fmt: skip


def make(way: str, codebook_size: int, latent_dim: int, num_codebooks: int) -> nn.ModuleList:
    """Fresh codebooks of one way."""
    return nn.ModuleList(WAYS[way](codebook_size, latent_dim) for _ in range(num_codebooks))


def groups(named: Iterable[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
    """Optimizer groups; linear maps of SimVQ learn faster."""
    trained = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    fast = [parameter for name, parameter in trained if ".map." in name]
    slow = [parameter for name, parameter in trained if ".map." not in name]
    quick = {"params": fast, "scale": LEARNED_RATE, "weight_decay": 0.0}
    return [{"params": slow}] + [quick] * bool(fast)


@torch.no_grad()
def start(layers: Any, vectors_ND: Tensor) -> None:
    """Fill every codebook in turn."""
    for layer in layers:
        layer.fill(vectors_ND, iterations=1)
        vectors_ND = vectors_ND - _chosen(layer, layer.search(vectors_ND))


@torch.no_grad()
def use(layers: Any, vectors_ND: Tensor, codebook_size: int) -> dict[str, float]:
    """Share of the codes used and perplexity of each book, and the variance that is left."""
    residual_ND, scores = vectors_ND, {"vectors": float(len(vectors_ND))}
    for book, layer in enumerate(layers):
        ids_N = layer.search(residual_ND)
        residual_ND = residual_ND - _chosen(layer, ids_N)
        scores[f"used_{book}"] = len(ids_N.unique()) / codebook_size
        scores[f"perplexity_{book}"] = perplexity(ids_N, codebook_size)
    return scores | {"error": float(residual_ND.var(0).sum() / vectors_ND.var(0).sum())}


def _chosen(layer: Any, ids_N: Tensor) -> Tensor:
    """The codes [N, D] of a way."""
    if isinstance(layer, Factorized):
        return cast(Tensor, layer.up(F.normalize(layer.table[ids_N])))
    return cast(Tensor, layer.codebook[ids_N])
