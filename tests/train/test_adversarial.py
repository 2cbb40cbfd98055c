"""The discriminator and the balance of losses."""

from __future__ import annotations

import torch

from quintet.train.adversarial import (
    Balancer,
    Discriminator,
    PatchDiscriminator,
    STFTDiscriminator,
)


def _listener(windows: tuple[int, ...], channels: int) -> Discriminator:
    return Discriminator(STFTDiscriminator(window, channels) for window in windows)


def test_no_gradient_of_the_codec_reaches_the_discriminator() -> None:
    torch.manual_seed(0)
    discriminator = _listener((256, 128), 4)
    made = torch.randn(2, 4_000, requires_grad=True)
    adversarial, matching = discriminator.judge(made, torch.randn(2, 4_000))
    (adversarial + matching).backward()
    assert made.grad is not None and made.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    assert all(parameter.requires_grad for parameter in discriminator.parameters())


def test_no_gradient_of_the_discriminator_reaches_the_codec() -> None:
    torch.manual_seed(0)
    discriminator = _listener((256, 128), 4)
    made = torch.randn(2, 4_000, requires_grad=True)
    discriminator.loss(made, torch.randn(2, 4_000)).backward()
    assert made.grad is None
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


def test_equal_sounds_match() -> None:
    sound = torch.randn(1, 4_000)
    _, matching = _listener((256,), 4).judge(sound, sound.clone())
    assert float(matching) == 0


def test_the_discriminator_learns_to_tell_apart() -> None:
    torch.manual_seed(0)
    discriminator = _listener((256, 128), 8)
    optimizer = torch.optim.Adam(discriminator.parameters(), 2e-3)
    time = torch.arange(4_000) / 24_000
    losses = []
    for _ in range(40):
        real = torch.sin(2 * torch.pi * (200 + 200 * torch.rand(4, 1)) * time)
        made = torch.randn(4, 4_000)
        loss = discriminator.loss(made, real)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1.5 and losses[-1] < 0.5


def test_the_balance_does_not_depend_on_the_scales_of_the_losses() -> None:
    output = torch.randn(3, 5, requires_grad=True)
    target, other = torch.randn(3, 5), torch.randn(3, 5)

    def pull(scale: float) -> torch.Tensor:
        balancer = Balancer({"other": 2.0})
        first = (output - target).square().sum()
        others = {"other": scale * (output - other).square().sum()}
        (gradient,) = torch.autograd.grad(balancer(output, first, others), output)
        return gradient

    torch.testing.assert_close(pull(1e-3), pull(1e3))
    first, second = 2 * (output - target).detach(), 2 * (output - other).detach()
    torch.testing.assert_close(pull(1.0), first + 2 * second * (first.norm() / second.norm()))


def test_a_loss_that_is_no_number_leaves_no_trace_in_the_balance() -> None:
    balancer, output = Balancer({"other": 1.0}), torch.ones(3, requires_grad=True)
    balancer(output, output.sum() * torch.nan, {"other": output.sum()})
    assert balancer.norms.isfinite().all() and balancer.count == 0
    balancer(output, output.sum(), {"other": output.sum()})
    assert (balancer.norms > 0).all() and balancer.count == 1


def test_the_balance_is_part_of_a_checkpoint() -> None:
    assert set(Balancer({"a": 1.0}).state_dict()) == {"norms", "count"}


def test_the_patch_discriminator_learns_to_tell_apart() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator([PatchDiscriminator(4)])
    optimizer = torch.optim.Adam(discriminator.parameters(), 2e-3)
    sharp = (torch.rand(8, 3, 48, 48) > 0.5).float()
    blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    first = float(discriminator.loss(blurred, sharp).detach())
    for _ in range(30):
        optimizer.zero_grad()
        loss = discriminator.loss(blurred, sharp)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5 * first


def test_a_patch_is_judged_by_what_stands_around_it() -> None:
    """A change far away leaves a score as it is: the scores are of patches."""
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(4)
    picture = torch.rand(1, 3, 96, 96)
    changed = picture.clone()
    changed[..., 64:] = 0
    before, after = discriminator(picture)[0], discriminator(changed)[0]
    assert before.shape == (1, 1, 12, 12)
    assert torch.equal(before[..., :4], after[..., :4])
    assert not torch.equal(before[..., -1:], after[..., -1:])


def test_the_balanced_loss_reads_as_the_first_one() -> None:
    output = torch.randn(3, 5, requires_grad=True)
    first = output.square().sum()
    balanced = Balancer({"other": 2.0})(output, first, {"other": output.abs().sum()})
    torch.testing.assert_close(balanced, first)
