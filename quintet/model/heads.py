"""The two heads, each with one entry more for `No Output`.

The audio head makes a frame by one choice after another, in one of three forms. *Parallel*: a
choice for each codebook, which sees the hidden vector alone [ref]. *Chained*: each also sees the
choices before it, because a residual code only means something beside the ones it refines.
*Digits*: chained, and each code is two choices, its high digit and then its low one; of 65,536
codes that is 2 x 256 entries, still an exact distribution, and two hundred times less to compute.

Shapes: N rows, D = d_model, Q = num_codebooks, K = codebook_size, V = text_image_vocab_size,
S choices of a frame (Q, or 2 Q as digits), R entries of a choice (K, or its square root).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from quintet.config import AudioConfig, ModelConfig
from quintet.model.few_rows import FewRows, suits
from quintet.products import Linear, linear


class TextImageHead(Linear):
    """[N, D] -> logits [N, V + 1]: text entries, image codes, `No Output`.

    Args:
        num_words: how many of the entries are text.
    """

    def __init__(self, config: ModelConfig, text_image_vocab_size: int, num_words: int) -> None:
        super().__init__(config.d_model, text_image_vocab_size + 1)
        self.num_words = num_words
        self._few: dict[str, FewRows | None] = {}

    def train(self, mode: bool = True) -> TextImageHead:
        self._few.clear()  # an optimizer of fused steps writes without counting
        return super().train(mode)

    def words(self, hidden_ND: Tensor) -> Tensor:
        """Logits [N, words + 1] where no picture is being drawn; the last is `No Output`."""
        return self._logits("words", hidden_ND, slice(self.num_words), slice(-1, None))

    def image_codes(self, hidden_ND: Tensor) -> Tensor:
        """Logits [N, codes] inside a picture."""
        return self._logits("image codes", hidden_ND, slice(self.num_words, -1))

    def _logits(self, name: str, hidden_ND: Tensor, *places: slice) -> Tensor:
        """Of the entries at these places, which `name` is of."""
        if not suits(hidden_ND, self.weight):
            made = [linear(hidden_ND, self.weight[some]) for some in places]
            return torch.cat(made, dim=-1) if len(made) > 1 else made[0]
        few = self._few.get(name)
        if few is None or not few.fits(self.weight):
            few = self._few[name] = FewRows(self.weight, *places)
        return few(hidden_ND)


class AudioHead(nn.Module):
    """[N, D] -> logits [N, S, R + 1]; the last entry of each choice is `No Output`."""

    def __init__(self, config: ModelConfig, audio: AudioConfig) -> None:
        super().__init__()
        self.digits = config.digits_per_code
        self.radix = audio.digit_size(self.digits)
        self.num_choices, entries = audio.num_codebooks * self.digits, self.radix + 1
        self.sub_heads = nn.ModuleList(
            Linear(config.d_model, entries) for _ in range(self.num_choices)
        )
        chained = 0 if config.audio_head == "parallel" else self.num_choices - 1
        self.codes = nn.ModuleList(nn.Embedding(entries, config.d_model) for _ in range(chained))
        self.mixers = nn.ModuleList(
            nn.Sequential(
                nn.RMSNorm(config.d_model),
                Linear(config.d_model, config.d_model, bias=True),
                nn.SiLU(),
                Linear(config.d_model, config.d_model, bias=True),
            )
            for _ in range(chained)
        )

    def choices(self, codes_NQ: Tensor) -> Tensor:
        """The entries [N, S] that make codes, of which K is `No Output`."""
        if self.digits == 1:
            return codes_NQ
        silent_NQ = codes_NQ == self.radix**self.digits
        high_NQ = torch.where(silent_NQ, self.radix, codes_NQ // self.radix)
        low_NQ = torch.where(silent_NQ, self.radix, codes_NQ % self.radix)
        return torch.stack([high_NQ, low_NQ], dim=-1).flatten(1)

    def codes_of(self, choices_NS: Tensor) -> Tensor:
        """And back, [N, Q], of frames that are none of silence."""
        if self.digits == 1:
            return choices_NS
        digits_NQ2 = choices_NS.unflatten(1, (-1, 2))
        return digits_NQ2[..., 0] * self.radix + digits_NQ2[..., 1]

    def _state(self, hidden_ND: Tensor, summed_ND: Tensor | None, choice: int) -> Tensor:
        """What sub-head `choice` reads; `summed_ND` embeds the choices before it."""
        if summed_ND is None:
            return hidden_ND
        mixed = hidden_ND + summed_ND
        return mixed + self.mixers[choice - 1](mixed)

    def _add(self, summed_ND: Tensor | None, choice: int, entry_N: Tensor) -> Tensor | None:
        """`summed_ND` with the entry taken at `choice`, where the next one shall see it."""
        if choice >= len(self.codes):
            return None
        embedded_ND: Tensor = self.codes[choice](entry_N)
        return embedded_ND if summed_ND is None else summed_ND + embedded_ND

    def forward(self, hidden_ND: Tensor, codes_NQ: Tensor) -> Tensor:
        """Logits [N, S, R + 1] given the true codes (the chained forms read those before)."""
        choices_NS, logits, summed = self.choices(codes_NQ), [], None
        for choice, sub_head in enumerate(self.sub_heads):
            logits.append(sub_head(self._state(hidden_ND, summed, choice)))
            summed = self._add(summed, choice, choices_NS[:, choice])
        return torch.stack(logits, dim=1)

    def silence(self, hidden_ND: Tensor) -> Tensor:
        """Probability of `No Output`, [N], which the first choice decides."""
        return self.sub_heads[0](hidden_ND).softmax(-1)[:, -1]

    @torch.no_grad()
    def sample(
        self, hidden_ND: Tensor, choose: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """One frame of codes for each row, [N, Q], and which rows speak at all, bool [N]; the
        codes of a row that does not mean nothing, and if none speaks there are no frames.

        `choose` maps logits [N, entries] to entries [N].
        """
        entries: list[Tensor] = []
        summed, speaks_N = None, hidden_ND.new_ones(len(hidden_ND), dtype=torch.bool)
        for choice, sub_head in enumerate(self.sub_heads):
            logits = sub_head(self._state(hidden_ND, summed, choice))
            if choice > 0:  # the frame has begun: later choices may not take it back
                logits[:, -1] = -torch.inf
            entry_N = choose(logits)
            if choice == 0:
                speaks_N = entry_N < self.radix
                if not speaks_N.any():
                    return entry_N[:, None], speaks_N
            entries.append(entry_N)
            summed = self._add(summed, choice, entry_N)
        return self.codes_of(torch.stack(entries, dim=1)), speaks_N


class _RowLosses(torch.autograd.Function):
    """Of each row: the cross-entropy plus `z_loss` times the square of the log of the normalizer;
    and, `with_turn`, the cross-entropy of the last entry against all others together.

    Written out because logits are the largest tensors there are: autograd would keep them in
    float32 and hold five such tables backward; this keeps them as they came, and holds one.
    """

    @staticmethod
    def forward(
        ctx: Any, logits_NV: Tensor, targets_N: Tensor, z_loss: float, with_turn: bool
    ) -> tuple[Tensor, Tensor]:
        values_NV = logits_NV.float()
        log_z_N = values_NV.logsumexp(-1)
        chosen_N = values_NV.gather(-1, targets_N[:, None])[:, 0]
        losses_N = log_z_N - chosen_N
        log_others_N, turns_N = None, torch.zeros_like(losses_N)
        if with_turn:
            log_others_N = values_NV[:, :-1].logsumexp(-1)
            silent_N = targets_N == logits_NV.shape[-1] - 1
            turns_N = torch.where(silent_N, losses_N, log_z_N - log_others_N)
        else:
            ctx.mark_non_differentiable(turns_N)
        ctx.save_for_backward(logits_NV, targets_N, log_z_N, log_others_N)
        ctx.z_loss = z_loss
        ctx.set_materialize_grads(False)
        return losses_N + z_loss * log_z_N.square(), turns_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None, None]:
        logits_NV, targets_N, log_z_N, log_others_N = ctx.saved_tensors
        zero_N = torch.zeros_like(log_z_N)
        row_N, turn_N = (zero_N if gradient is None else gradient for gradient in gradients)
        silent_N = targets_N == logits_NV.shape[-1] - 1
        # With s the probability of silence, and q that of another entry among the others, the
        # cross-entropy of all others, -log(1 - s), has the gradient s at silence and -q s
        # elsewhere; that of silence is one as any. And the probability of an entry is q (1 - s).
        whole_N = row_N + turn_N.where(silent_N, zero_N)
        others_N = turn_N.where(~silent_N, zero_N)
        plain_N = whole_N + 2 * ctx.z_loss * row_N * log_z_N
        if log_others_N is None:
            gradient_NV = (logits_NV - log_z_N[:, None]).exp_()  # in float32, as log_z is
            gradient_NV *= plain_N[:, None]
        else:
            silence_N = (logits_NV[:, -1] - log_z_N).exp()
            speaks_N = (log_others_N - log_z_N).exp()
            gradient_NV = (logits_NV - log_others_N[:, None]).exp_()
            gradient_NV *= (plain_N * speaks_N - others_N * silence_N)[:, None]
            gradient_NV[:, -1] = silence_N * (plain_N + others_N)
        gradient_NV.scatter_add_(1, targets_N[:, None], -whole_N[:, None])
        return gradient_NV.to(logits_NV.dtype), None, None, None


def row_losses(
    logits: Tensor, targets: Tensor, z_loss: float, with_turn: bool = False
) -> tuple[Tensor, Tensor]:
    """Of each row of [N, entries], against [N], in nats: the cross-entropy with z-loss (Chowdhery
    et al. 2022); and, `with_turn` (else zeros), whether anything is said: the cross-entropy of the
    last entry, `No Output`, against all others together."""
    losses: Tensor
    turn_losses: Tensor
    losses, turn_losses = _RowLosses.apply(logits, targets, z_loss, with_turn)
    return losses, turn_losses


def log_probs_of(logits_NV: Tensor, chosen_N: Tensor) -> Tensor:
    """Log-probability [N] of an entry of each row of logits, in float32."""
    return -row_losses(logits_NV, chosen_N, 0.0)[0]
