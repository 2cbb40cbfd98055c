"""The audio head's three forms, and the loss."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import make_config, make_model
from torch.nn import functional as F

from quintet.config import UserError
from quintet.model.heads import AudioHead, row_losses

FORMS = ("parallel", "chained", "digits")


def _head(form: str) -> AudioHead:
    config = make_config()
    model = make_model(replace(config, model=replace(config.model, audio_head=form)))
    return model.audio_head


@pytest.mark.parametrize("form", FORMS)
def test_sampling_follows_the_logits(form: str) -> None:
    """Greedy sampling, choice after choice, gives what the logits say given those choices; many
    rows at once give what each gives alone."""
    head, size = _head(form), make_config().audio.codebook_size
    torch.manual_seed(1)
    hidden_ND = torch.randn(40, make_config().model.d_model)
    codes_NQ, speaks_N = head.sample(hidden_ND, lambda logits: logits.argmax(-1))
    assert 0 < int(speaks_N.sum()) < len(hidden_ND)
    for hidden_D, codes_Q, speaks in zip(hidden_ND, codes_NQ, speaks_N, strict=True):
        alone_1Q, speaks_1 = head.sample(hidden_D[None], lambda logits: logits.argmax(-1))
        assert bool(speaks_1) == bool(speaks)
        if not speaks:
            first = head(hidden_D[None], torch.zeros(1, 3, dtype=torch.long))[0, 0]
            assert int(first.argmax()) == head.radix
            continue
        assert torch.equal(alone_1Q[0], codes_Q) and int(codes_Q.max()) < size
        logits_SR = head(hidden_D[None], codes_Q[None])[0]
        logits_SR[1:, -1] = -torch.inf  # a frame that has begun is finished
        assert torch.equal(logits_SR.argmax(-1), head.choices(codes_Q[None])[0])


def test_the_chained_forms_read_the_choices_before() -> None:
    hidden = torch.randn(1, make_config().model.d_model)
    one, other = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 2, 3]])
    for form, depends in (("parallel", False), ("chained", True), ("digits", True)):
        head = _head(form)
        first, second = head(hidden, one)[0], head(hidden, other)[0]
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[-1], second[-1]) != depends


def test_digits_make_every_code_once_and_silence_too() -> None:
    head, size = _head("digits"), make_config().audio.codebook_size
    codes_NQ = torch.arange(size)[:, None].expand(-1, 3)
    choices_NS = head.choices(codes_NQ)
    assert choices_NS.shape == (size, 6) and int(choices_NS.max()) < head.radix == 4
    assert len(choices_NS.unique(dim=0)) == size
    assert torch.equal(head.codes_of(choices_NS), codes_NQ)
    assert (head.choices(torch.full((1, 3), size)) == head.radix).all()


def test_digits_are_a_distribution_over_codes() -> None:
    """Of one codebook: the probabilities of all codes and of silence sum to 1."""
    head, size = _head("digits"), make_config().audio.codebook_size
    codes_NQ = torch.zeros(size, 3, dtype=torch.long)
    codes_NQ[:, 0] = torch.arange(size)
    hidden_ND = torch.randn(1, make_config().model.d_model).expand(size, -1)
    logits_NSR = head(hidden_ND, codes_NQ)
    logits_NSR[:, 1:, -1] = -torch.inf
    chosen = logits_NSR.log_softmax(-1).gather(-1, head.choices(codes_NQ)[..., None])[..., 0]
    total = chosen[:, :2].sum(1).exp().sum() + head.silence(hidden_ND)[0]
    torch.testing.assert_close(total, torch.tensor(1.0))


def test_digits_need_a_square_number_of_codes() -> None:
    config = make_config()
    with pytest.raises(UserError, match=r"cannot be written in 2 digits.*square"):
        make_model(replace(
            config,
            model=replace(config.model, audio_head="digits"),
            audio=replace(config.audio, codebook_size=18),
        ))  # fmt: skip


def _plainly(
    logits: torch.Tensor, targets: torch.Tensor, z_loss: float
) -> tuple[torch.Tensor, torch.Tensor]:
    values = logits.float()
    each = F.cross_entropy(values, targets, reduction="none")
    log_odds = values[:, -1] - values[:, :-1].logsumexp(-1)
    silent = (targets == logits.shape[-1] - 1).float()
    turns = F.binary_cross_entropy_with_logits(log_odds, silent, reduction="none")
    return each + z_loss * values.logsumexp(-1).square(), turns


TARGETS = torch.tensor([4, 0, 1, 4, 2, 3, 4, 0, 4])


def test_losses_are_cross_entropy_with_z_loss_and_that_of_silence_against_all_else() -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(9, 5)).requires_grad_()
    for z_loss in (0.0, 0.1):
        expected = _plainly(logits, TARGETS, z_loss)
        torch.testing.assert_close(row_losses(logits, TARGETS, z_loss, True), expected)
        losses, turns = row_losses(logits, TARGETS, z_loss)
        torch.testing.assert_close(losses, expected[0])
        assert not turns.any() and not turns.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("turn_weight", [0.0, 2.0])
@pytest.mark.parametrize("silence", [0.0, 14.0, 17.0, 30.0, -30.0])  # that much the likelier
def test_the_gradient_of_the_losses_is_autograds(
    dtype: torch.dtype, turn_weight: float, silence: float
) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(9, 5)
    logits[:, -1] += silence
    mine, theirs = (logits.to(dtype).requires_grad_() for _ in range(2))
    weights, turn_weights = torch.rand(9), turn_weight * torch.rand(9)
    for leaf, pair in (
        (mine, row_losses(mine, TARGETS, 0.1, bool(turn_weight))),
        (theirs, _plainly(theirs, TARGETS, 0.1)),
    ):
        losses, turns = pair
        ((losses * weights).sum() + (turns * turn_weights).sum()).backward()
        assert leaf.grad is not None and leaf.grad.dtype == dtype
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_where_silence_is_almost_certain_the_turns_loss_and_gradient_are_exact() -> None:
    logits = torch.tensor([[0.0, 0.0, 60.0], [0.0, 0.0, 200.0]], requires_grad=True)
    _, turns = row_losses(logits, torch.tensor([0, 1]), 0.0, True)
    torch.testing.assert_close(turns, torch.tensor([60.0, 200.0]) - math.log(2))
    turns.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.5, -0.5, 1.0]] * 2))


def test_a_fresh_model_guesses() -> None:
    """Before training, the loss is that of a coin with as many sides as there are entries."""
    config = make_config()
    head = make_model(config).text_image_head
    torch.nn.init.zeros_(head.weight)
    entries = config.text_image_vocab_size + 1
    loss = row_losses(head(torch.randn(4, 48)), torch.arange(4), 0.0)[0].mean()
    assert math.isclose(float(loss.detach()), math.log(entries), rel_tol=1e-5)
