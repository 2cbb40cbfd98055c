"""How likely a model finds what was produced, sample by sample: every word and image code, every
choice of every audio frame, and every `No Output`, as silence is an answer too.

It is the probability with which a session that does not yield (`Sampling.yield_above` = 1) gives
these answers at temperature 1, which is a little more than the training's loss says: inside a
picture only image codes are possible, outside it none are; the first choice of a frame alone
decides on silence, and a frame that has begun is finished. So nothing is learned here that such a
session never does.

Shapes: K rows of the batch, N questions to the text+image head, M to the audio head, P samples,
V = text_image_vocab_size, S choices of a frame, R entries of a choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quintet.model.heads import log_probs_of
from quintet.model.omni import Batch, Omni


def log_probs(model: Omni, batch: Batch) -> Tensor:
    """Log-probability of each sample's answers, summed, float32 [P]; samples in the order of the
    batch's lines."""
    text_NV, audio_MSR = possible_logits(model, batch)
    chosen_MS = _choices(model, batch)[0]
    text_N = log_probs_of(text_NV, batch.text_target)
    audio_MS = log_probs_of(audio_MSR.flatten(0, 1), chosen_MS.flatten()).view_as(chosen_MS)
    return _summed(model, batch, text_N, audio_MS)


def num_answers(batch: Batch) -> Tensor:
    """How many questions each sample answers, int64 [P]; a frame of sound is one."""
    asked = torch.cat(samples_asked(batch))
    return torch.bincount(asked, minlength=_num_samples(batch))


def divergence(reference: Omni, model: Omni, batch: Batch) -> Tensor:
    """Nats [P] by which the model's answers have gone from the reference's: the Kullback-Leibler
    divergence KL(reference || model) at every question, summed over each sample's."""
    tables = (possible_logits(reference, batch), possible_logits(model, batch))
    text_N, audio_MS = (_divergence(*pair) for pair in zip(*tables, strict=True))
    return _summed(model, batch, text_N, audio_MS)


def possible_logits(model: Omni, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits [N, V + 1] and [M, S, R + 1] at every question, -inf where a session would not choose.

    Both heads run, if on no rows, as many devices need it.
    """
    hidden_KD = model.hidden(batch)
    text_NV = model.text_image_head(hidden_KD[batch.text_at])
    num_words, silence = model.config.text.vocab_size, model.vocabulary.text_no_output
    entry_V = torch.arange(silence + 1, device=text_NV.device)
    is_code_V = (entry_V >= num_words) & (entry_V < silence)
    is_code_N = is_code_V[batch.text_target]
    text_NV = text_NV.masked_fill(is_code_V != is_code_N[:, None], -torch.inf)
    audio_MSR = model.audio_head(hidden_KD[batch.audio_at], batch.audio_target)
    never_SR = torch.zeros(audio_MSR.shape[1:], dtype=torch.bool, device=audio_MSR.device)
    never_SR[1:, -1] = True
    return text_NV, audio_MSR.masked_fill(never_SR, -torch.inf)


def samples_asked(batch: Batch) -> tuple[Tensor, Tensor]:
    """Which sample each question to either head belongs to, [N] and [M]."""
    assert batch.starts is not None, "the samples of this batch are not told apart"
    text_of_N = torch.searchsorted(batch.starts, batch.text_at, right=True) - 1
    audio_of_M = torch.searchsorted(batch.starts, batch.audio_at, right=True) - 1
    return text_of_N, audio_of_M


def _num_samples(batch: Batch) -> int:
    assert batch.starts is not None, "the samples of this batch are not told apart"
    return len(batch.starts)


def _summed(model: Omni, batch: Batch, text_N: Tensor, audio_MS: Tensor) -> Tensor:
    """[P]: values of each sample's questions, and of the choices that were asked for."""
    audio_M = torch.where(_choices(model, batch)[1], audio_MS, 0.0).sum(1)
    text_of_N, audio_of_M = samples_asked(batch)
    sums_P = text_N.new_zeros(_num_samples(batch))
    return sums_P.index_add(0, text_of_N, text_N).index_add(0, audio_of_M, audio_M)


def _choices(model: Omni, batch: Batch) -> tuple[Tensor, Tensor]:
    """Entries [M, S] that were chosen, and which of them were asked for: of silence the first."""
    head = model.audio_head
    chosen_MS = head.choices(batch.audio_target)
    is_asked_MS = (chosen_MS[:, :1] < head.radix).expand_as(chosen_MS).clone()
    is_asked_MS[:, 0] = True
    return torch.where(is_asked_MS, chosen_MS, 0), is_asked_MS


def _divergence(of_reference: Tensor, of_model: Tensor) -> Tensor:
    """KL(reference || model) over the last dimension of two tables of logits."""
    reference, model = of_reference.float().log_softmax(-1), of_model.float().log_softmax(-1)
    apart = torch.where(reference.isneginf(), 0.0, reference - model)
    return (reference.exp() * apart).sum(-1)
