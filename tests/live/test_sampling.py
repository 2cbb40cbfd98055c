"""An entry is chosen from logits as the temperature and the trimmed tail say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
import torch

from quintet.config import UserError
from quintet.live.sampling import Sampling, choose
from quintet.model import fused_heads

UNIFORMS = (np.arange(2_000, dtype=np.float32) + 0.5) / 2_000  # evenly: shares are all but exact


def _by_pytorch(logits_R: torch.Tensor, temperature: float, top_p: float) -> np.ndarray:
    drawn = [int(choose(logits_R[None], temperature, top_p, u)) for u in UNIFORMS]
    return np.bincount(drawn, minlength=len(logits_R)) / len(drawn)


def _compiled(logits_R: torch.Tensor, temperature: float, top_p: float) -> np.ndarray:
    numbers = (np.float32(temperature), np.float32(top_p))
    drawn = [fused_heads.choose(logits_R.numpy(), *numbers, u) for u in UNIFORMS]
    return np.bincount(drawn, minlength=len(logits_R)) / len(drawn)


BOTH = pytest.mark.parametrize("shares", [_by_pytorch, _compiled])
Shares = Callable[[torch.Tensor, float, float], np.ndarray]


@BOTH
def test_choosing_is_hot_or_cold_and_trims_the_tail(shares: Shares) -> None:
    logits = torch.tensor([0.2, 0.5, 0.3]).log()
    assert shares(logits, 0.0, 1.0).tolist() == [0, 1, 0]
    for temperature in (0.5, 1.0, 2.0):
        expected = (logits / temperature).softmax(-1).numpy()
        np.testing.assert_allclose(shares(logits, temperature, 1.0), expected, atol=1e-3)
    # What comes before an entry may be likelier than `top_p` together; then it goes.
    np.testing.assert_allclose(shares(logits, 1.0, 0.6), [0, 0.625, 0.375], atol=1e-3)
    assert shares(logits, 1.0, 0.4).tolist() == shares(logits, 1.0, 0.0).tolist() == [0, 1, 0]
    barred = torch.tensor([1.0, -torch.inf, 0.0])
    np.testing.assert_allclose(shares(barred, 1.0, 1.0), barred.softmax(-1).numpy(), atol=1e-3)


@pytest.mark.parametrize("spread", [0.1, 1.0, 6.0])
@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.9, 1.0])
def test_both_ways_choose_alike(spread: float, top_p: float) -> None:
    """Few entries and many, of which one after another is looked for or all are sorted."""
    torch.manual_seed(0)
    for entries in (2, 40, 1_025):
        logits_R = spread * torch.randn(entries)
        one, other = (way(logits_R, 0.7, top_p) for way in (_by_pytorch, _compiled))
        assert 0.5 * np.abs(one - other).sum() < 0.01  # sums in another order, at the edges alone


def test_just_above_what_is_cold_entries_are_drawn() -> None:
    shares = _by_pytorch(torch.tensor([0.0, 1e-4]), 1.01e-3, 1.0)
    np.testing.assert_allclose(shares, [0.475, 0.525], atol=2e-3)
    assert _by_pytorch(torch.tensor([0.0, 1e-4]), 0.99e-3, 1.0).tolist() == [0, 1]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_where_no_entry_is_possible_none_is_chosen(temperature: float) -> None:
    barred_R = torch.full((40,), -torch.inf)
    with pytest.raises(FloatingPointError, match="no numbers"):
        choose(barred_R[None], temperature, 0.9, 0.5)
    numbers = np.float32([temperature, 0.9, 0.5])
    assert fused_heads.choose(barred_R.numpy(), *numbers) == fused_heads.NOT_CHOSEN
    for wrong in ((1e-40, 0.9), (0.7, np.nan), (0.7, -1.0)):  # which `Sampling` refuses
        assert fused_heads.choose(np.arange(40, dtype=np.float32), *np.float32([*wrong, 0.5])) in (
            fused_heads.NOT_CHOSEN, 39,
        )  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(Sampling)])
def test_settings_that_are_none_are_told(name: str) -> None:
    most = 1e3 if name.endswith("temperature") else 1.0
    for wrong in (-0.1, np.nan, np.inf, most + 0.1, True, "hot", None):
        with pytest.raises(UserError, match=rf"{name} is {wrong!r}; choose a number"):
            Sampling(**{name: wrong})  # type: ignore[arg-type]
    for right in (most, 0, np.float32(0.5), np.int64(1)):
        assert getattr(Sampling(**{name: right}), name) == right


def test_the_released_model_is_judged_with_these_settings() -> None:
    """The README's scores hold for them: to change one asks for a new report."""
    assert Sampling() == Sampling(0.0, 0.3, 0.3, 0.9, 0.1)
