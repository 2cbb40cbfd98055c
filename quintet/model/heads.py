"""The two heads, each with one entry more for `No Output`.

The audio head has a sub-head for each codebook, in two forms. *Parallel*: each sees the hidden
vector alone [ref]. *Chained*: each also sees the codes before it, because a residual code only
means something beside the ones it refines.

Shapes: N rows, D = d_model, Q = num_codebooks, K = codebook_size, V = text_image_vocab_size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quintet.config import AudioConfig, ModelConfig


class TextImageHead(nn.Linear):
    """[N, D] -> logits [N, V + 1]; the last entry is `No Output`."""

    def __init__(self, config: ModelConfig, text_image_vocab_size: int) -> None:
        super().__init__(config.d_model, text_image_vocab_size + 1, bias=False)


class AudioHead(nn.Module):
    """[N, D] -> logits [N, Q, K + 1]; the last entry of each sub-head is `No Output`."""

    def __init__(self, config: ModelConfig, audio: AudioConfig) -> None:
        super().__init__()
        self.chained = config.audio_head == "chained"
        self.num_codebooks = audio.num_codebooks
        entries = audio.codebook_size + 1
        self.sub_heads = nn.ModuleList(
            nn.Linear(config.d_model, entries, bias=False) for _ in range(audio.num_codebooks)
        )
        chained = audio.num_codebooks - 1 if self.chained else 0
        self.codes = nn.ModuleList(nn.Embedding(entries, config.d_model) for _ in range(chained))
        self.mixers = nn.ModuleList(
            nn.Sequential(
                nn.RMSNorm(config.d_model),
                nn.Linear(config.d_model, config.d_model),
                nn.SiLU(),
                nn.Linear(config.d_model, config.d_model),
            )
            for _ in range(chained)
        )

    def _state(self, hidden_ND: Tensor, summed_ND: Tensor | None, book: int) -> Tensor:
        """What sub-head `book` reads; `summed_ND` embeds the codes before it."""
        if summed_ND is None:
            return hidden_ND
        mixed = hidden_ND + summed_ND
        return mixed + self.mixers[book - 1](mixed)

    def forward(self, hidden_ND: Tensor, codes_NQ: Tensor) -> Tensor:
        """Logits [N, Q, K + 1] given the true codes (the chained form reads those before)."""
        logits, summed = [], None
        for book, sub_head in enumerate(self.sub_heads):
            logits.append(sub_head(self._state(hidden_ND, summed, book)))
            if self.chained and book + 1 < self.num_codebooks:
                embedded = self.codes[book](codes_NQ[:, book])
                summed = embedded if summed is None else summed + embedded
        return torch.stack(logits, dim=1)

    @torch.no_grad()
    def sample(self, hidden_1D: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor | None:
        """One frame of codes [Q], or None for `No Output`, which the first sub-head decides.

        `choose` maps logits [1, entries] to an entry [1].
        """
        codes: list[Tensor] = []
        summed = None
        for book, sub_head in enumerate(self.sub_heads):
            logits = sub_head(self._state(hidden_1D, summed, book))
            no_output = logits.shape[-1] - 1
            if book > 0:  # the frame has begun: later sub-heads may not take it back
                logits[:, no_output] = -torch.inf
            code = choose(logits)
            if int(code) == no_output:
                return None
            codes.append(code)
            if self.chained and book + 1 < self.num_codebooks:
                embedded = self.codes[book](code)
                summed = embedded if summed is None else summed + embedded
        return torch.cat(codes)


def head_loss(
    logits: Tensor, targets: Tensor, z_loss: float, weights: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of [N, entries] against [N], with z-loss (Chowdhery et al. 2022).

    `weights` [N] makes it a weighted mean.
    """
    logits = logits.float()
    log_z = logits.logsumexp(-1)
    chosen = logits.gather(-1, targets[:, None])[:, 0]
    losses = log_z - chosen + z_loss * log_z.square()
    if weights is None:
        return losses.mean()
    return (losses * weights).sum() / weights.sum()
