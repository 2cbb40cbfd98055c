"""An entry is chosen from logits as the temperature and the trimmed tail say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quintet.live.sampling import Sampling, choose


def test_choosing() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    assert int(choose(logits, 0.0, 1.0, generator)) == 1
    drawn = [int(choose(logits, 1.0, 1.0, generator)) for _ in range(3_000)]
    shares = np.bincount(drawn, minlength=3) / 3_000
    np.testing.assert_allclose(shares, logits.softmax(-1)[0].numpy(), atol=0.03)
    assert {int(choose(logits, 1.0, 0.5, generator)) for _ in range(200)} == {1}


def test_choosing_is_hot_or_cold_and_trims_the_tail() -> None:
    generator, logits = torch.Generator().manual_seed(0), torch.tensor([0.5, 0.3, 0.2]).log()

    def shares(temperature: float, top_p: float) -> list[float]:
        drawn = choose(logits.expand(8_000, 3), temperature, top_p, generator)
        return (drawn.bincount(minlength=3) / 8_000).tolist()

    for temperature in (0.5, 2.0):
        expected = (logits / temperature).softmax(-1).tolist()
        assert shares(temperature, 1.0) == pytest.approx(expected, abs=0.03)
    # What comes before an entry may be likelier than `top_p` together; then it goes.
    assert shares(1.0, 0.6) == pytest.approx([0.625, 0.375, 0.0], abs=0.03)
    assert shares(1.0, 0.4) == shares(1.0, 0.0) == [1.0, 0.0, 0.0]


def test_the_released_model_is_judged_with_these_temperatures() -> None:
    """The README's scores hold for them: to change one asks for a new report."""
    assert Sampling() == Sampling(0.0, 0.3, 0.3, 0.9)
