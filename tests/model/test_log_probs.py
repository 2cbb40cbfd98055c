"""How likely a model finds what was produced: the sum over a plain loop, however it is batched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_samples
from torch.distributions import Categorical, kl_divergence

from quintet.model.log_probs import divergence, log_probs, num_answers, possible_logits
from quintet.model.omni import Batch, Omni
from quintet.timeline.packing import pack
from quintet.timeline.targets import NOT_ASKED, Sample


def _model(form: str, seed: int = 0) -> Omni:
    config = make_config()
    return make_model(replace(config, model=replace(config.model, audio_head=form)), seed)


def _by_a_loop(model: Omni, sample: Sample) -> tuple[float, int]:
    """Question by question, with the very functions by which a session chooses; how many."""
    batch = Batch.from_samples([sample])
    hidden_TD, vocabulary = model(batch.rows)[0], model.vocabulary
    total, asked, num_words = 0.0, 0, model.config.text.vocab_size

    def take(entry: int):
        def choose(logits):
            nonlocal total
            total += float(logits.double().log_softmax(-1)[0, entry])
            return torch.tensor([entry])

        return choose  # fmt: skip

    for hidden_D, text, audio_Q in zip(
        hidden_TD, sample.text_target, sample.audio_target, strict=True
    ):
        hidden_1D = hidden_D[None]
        if text != NOT_ASKED:
            asked += 1
            if num_words <= text < vocabulary.text_no_output:
                take(int(text) - num_words)(model.text_image_head.image_codes(hidden_1D))
            else:
                silent = text == vocabulary.text_no_output
                take(-1 if silent else int(text))(model.text_image_head.words(hidden_1D))
        if audio_Q[0] != NOT_ASKED:
            asked += 1
            chosen = model.audio_head.choices(torch.from_numpy(audio_Q[None].astype(np.int64)))
            entries = iter(chosen[0].tolist())
            model.audio_head.sample(hidden_1D, lambda logits, e=entries: take(next(e))(logits))
    return total, asked


@torch.no_grad()
@pytest.mark.parametrize("form", ["parallel", "chained", "digits"])
def test_the_sum_is_that_of_a_loop_over_what_a_session_asks(form: str) -> None:
    model, samples = _model(form), make_samples(5)
    for sample in make_samples(4):  # as some that begin with a question
        for asked in (sample.text_target, sample.audio_target[:, 0]):
            rest = slice(int(np.argmax(asked != NOT_ASKED)), None)
            cut = (sample.rows.take(rest), sample.text_target[rest], sample.audio_target[rest])
            samples.append(Sample(*cut))
    for lines in ([[sample] for sample in samples], pack(samples, 160)):
        batch = Batch.from_lines(lines)
        loops = [_by_a_loop(model, sample) for line in lines for sample in line]
        assert log_probs(model, batch).tolist() == pytest.approx([p for p, _ in loops], rel=1e-5)
        assert num_answers(batch).tolist() == [count for _, count in loops]


@torch.no_grad()
def test_silence_counts() -> None:
    """A scene in which nothing is said has answers too, and they are likelier than not 0."""
    quiet = make_samples(1)[0]
    vocabulary = _model("chained").vocabulary
    text = np.where(quiet.text_target == NOT_ASKED, NOT_ASKED, vocabulary.text_no_output)
    audio = np.where(quiet.audio_target == NOT_ASKED, NOT_ASKED, vocabulary.audio_no_output)
    batch = Batch.from_samples([replace(quiet, text_target=text, audio_target=audio)])
    assert float(log_probs(_model("chained"), batch)) < -1.0
    assert int(num_answers(batch)) == int((text >= 0).sum() + (audio[:, 0] >= 0).sum())


@torch.no_grad()
def test_a_share_has_the_same_samples() -> None:
    model, samples = _model("chained"), make_samples(5)
    whole = log_probs(model, Batch.from_samples(samples))
    for rank in range(2):
        share = log_probs(model, Batch.from_samples(samples).share(rank, 2))
        assert torch.allclose(share, whole[rank::2], rtol=1e-5)


@torch.no_grad()
def test_divergence_is_zero_from_itself_alone() -> None:
    batch = Batch.from_samples(make_samples(3))
    model, other = _model("chained"), _model("chained", seed=1)
    assert divergence(model, model, batch).tolist() == [0.0] * 3
    assert bool((divergence(model, other, batch) > 1.0).all())


@torch.no_grad()
def test_divergence_is_that_of_the_textbook() -> None:
    """KL(reference || model): what the reference does counts by how often it does it."""
    batch = Batch.from_samples(make_samples(1))
    reference, model = _model("parallel"), _model("parallel", seed=1)
    tables = zip(possible_logits(reference, batch), possible_logits(model, batch), strict=True)
    (text_N, audio_MS) = (
        kl_divergence(*(Categorical(logits=table) for table in pair)) for pair in tables
    )
    speaks_M = batch.audio_target[:, 0] < model.audio_head.radix
    audio_M = torch.where(speaks_M, audio_MS.sum(1), audio_MS[:, 0])
    expected = float(text_N.sum() + audio_M.sum())
    assert float(divergence(reference, model, batch)) == pytest.approx(expected, rel=1e-4)
    assert float(divergence(model, reference, batch)) != pytest.approx(expected, rel=1e-2)
