"""The audio head's two forms, and the loss."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import make_config, make_model
from torch.nn import functional as F

from quintet.model.heads import head_loss


@pytest.mark.parametrize("form", ["parallel", "chained"])
def test_sampling_follows_the_logits(form: str) -> None:
    """Greedy sampling, code after code, gives what the logits say given those codes."""
    config = make_config()
    model = make_model(replace(config, model=replace(config.model, audio_head=form)))
    torch.manual_seed(1)
    for hidden_1D in torch.randn(20, 1, config.model.d_model):
        codes = model.audio_head.sample(hidden_1D, lambda logits: logits.argmax(-1))
        if codes is None:
            first = model.audio_head(hidden_1D, torch.zeros(1, 3, dtype=torch.long))[0, 0]
            assert int(first.argmax()) == config.audio.codebook_size
            continue
        logits_QK = model.audio_head(hidden_1D, codes[None])[0]
        logits_QK[1:, -1] = -torch.inf  # a frame that has begun is finished
        assert torch.equal(logits_QK.argmax(-1), codes)


def test_only_the_chained_form_reads_the_codes_before() -> None:
    config = make_config()
    hidden = torch.randn(1, config.model.d_model)
    one, other = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 2, 3]])
    for form, depends in (("parallel", False), ("chained", True)):
        head = make_model(replace(config, model=replace(config.model, audio_head=form))).audio_head
        first, second = head(hidden, one)[0], head(hidden, other)[0]
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1]) != depends


def test_loss_is_cross_entropy_with_z_loss() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(9, 5), torch.randint(5, (9,))
    weights = torch.rand(9)
    plain = F.cross_entropy(logits, targets)
    torch.testing.assert_close(head_loss(logits, targets, 0.0), plain)
    z = 0.1 * logits.logsumexp(-1).square().mean()
    torch.testing.assert_close(head_loss(logits, targets, 0.1), plain + z)
    each = F.cross_entropy(logits, targets, reduction="none")
    expected = (each * weights).sum() / weights.sum()
    torch.testing.assert_close(head_loss(logits, targets, 0.0, weights), expected)


def test_a_fresh_model_guesses() -> None:
    """Before training, the loss is that of a coin with as many sides as there are entries."""
    config = make_config()
    head = make_model(config).text_image_head
    torch.nn.init.zeros_(head.weight)
    entries = config.text_image_vocab_size + 1
    loss = head_loss(head(torch.randn(4, 48)), torch.arange(4), 0.0)
    assert math.isclose(float(loss.detach()), math.log(entries), rel_tol=1e-5)
