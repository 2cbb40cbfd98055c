"""Structural similarity: 1 for equals, scikit-image's number otherwise, at any size."""

from __future__ import annotations

import pytest
import torch

from quintet.train.structure import psnr, structural_similarity, structure_loss


def _pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    real_BCHW = torch.rand(2, 3, height, width, generator=generator)
    noise_BCHW = 0.2 * torch.randn(real_BCHW.shape, generator=generator)
    return (real_BCHW + noise_BCHW).clamp(0, 1), real_BCHW


@pytest.mark.parametrize("size", [(7, 7), (30, 41), (6, 60), (1, 1), (3, 2)])
def test_equal_pictures_have_similarity_one(size: tuple[int, int]) -> None:
    made, real = _pair(*size)
    torch.testing.assert_close(structural_similarity(real, real), torch.ones(2))
    assert float(structure_loss(real, real)) == pytest.approx(0, abs=1e-6)
    assert (structural_similarity(made, real) < 1).all() and structure_loss(made, real) > 0


def test_it_is_that_of_scikit_image() -> None:
    peer = pytest.importorskip("skimage.metrics").structural_similarity
    made, real = _pair(30, 41)
    for index, ours in enumerate(structural_similarity(made, real)):
        pictures = (x[index].permute(1, 2, 0).double().numpy() for x in (made, real))
        theirs = peer(*pictures, win_size=7, data_range=1, channel_axis=2)
        assert float(ours) == pytest.approx(theirs, abs=1e-4)


def test_pictures_do_not_mix() -> None:
    made, real = _pair(16, 16)
    both = structural_similarity(made, real)
    torch.testing.assert_close(both[:1], structural_similarity(made[:1], real[:1]))
    torch.testing.assert_close(both, structural_similarity(real, made))


def test_the_loss_can_be_followed_down() -> None:
    made, real = _pair(28, 28)
    made.requires_grad_()
    before = structure_loss(made, real)
    before.backward()
    assert made.grad is not None and made.grad.isfinite().all()
    assert structure_loss(made.detach() - 0.1 * made.grad / made.grad.norm(), real) < before


def test_psnr() -> None:
    real = torch.zeros(2, 3, 6, 6)
    assert psnr(real, real).tolist() == [100, 100]
    torch.testing.assert_close(psnr(real + 0.1, real), torch.tensor([20.0, 20.0]))
