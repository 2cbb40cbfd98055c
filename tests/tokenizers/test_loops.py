"""The codec's compiled loops equal PyTorch's operators."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from quintet.tokenizers import streaming
from quintet.tokenizers.streaming import ResidualLSTM, elu

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize(("width", "layers"), [(6, 1), (33, 2), (130, 3)])
def test_an_lstm_equals_pytorchs(
    width: int, layers: int, batch: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, in pieces, from a state, layers one after another or side by side; wide enough that
    its weights are read in blocks."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(streaming, "STEPS", 5)
    torch.manual_seed(width)
    module = ResidualLSTM(width, layers)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=width**-0.5)
    x_BCT = 3 * torch.randn(batch, width, 23)
    with torch.enable_grad():
        expected, (hidden_BLH, cell_BLH) = module(x_BCT)
        # As loaded weights may lie; what is compiled reads them row after row.
        module.lstm.weight_hh_l0.data = module.lstm.weight_hh_l0.data.T.contiguous().T
    with torch.no_grad():
        whole, state = module(x_BCT)
        torch.testing.assert_close(whole, expected.detach(), **CLOSE)
        torch.testing.assert_close(state, (hidden_BLH.detach(), cell_BLH.detach()), **CLOSE)
        pieces, state = [], None
        for piece_BCT in x_BCT.split([1, 9, 13], dim=-1):
            kept = None if state is None else [part.clone() for part in state]
            made, later = module(piece_BCT, state)
            if state is not None:  # whoever branches off from it finds it as it was
                torch.testing.assert_close(list(state), kept, rtol=0, atol=0)
            pieces.append(made)
            state = later
        torch.testing.assert_close(torch.cat(pieces, dim=-1), whole, **CLOSE)
        alone = torch.cat([module(one_BCT)[0] for one_BCT in x_BCT.split(1)])
        assert torch.equal(alone, whole)  # who else is there changes no digit


def test_gates_that_are_full_or_shut() -> None:
    torch.manual_seed(0)
    module, x_BCT = ResidualLSTM(5, 1), torch.full((1, 5, 4), 1e4)
    x_BCT[:, ::2] *= -1
    with torch.enable_grad():
        expected = module(x_BCT)[0].detach()
    with torch.no_grad():
        torch.testing.assert_close(module(x_BCT)[0], expected, **CLOSE)


@torch.no_grad()
def test_elu_equals_pytorchs() -> None:
    torch.manual_seed(0)
    x_BCT = 4 * torch.randn(2, 3, 5_000)
    x_BCT.view(-1)[:6] = torch.tensor([0.0, -0.0, -1e-9, -200.0, 1e30, -torch.inf])
    turned = x_BCT.mT.contiguous().mT
    pieces = (x_BCT[..., 7:], turned[..., 7:], x_BCT[:, 1:], turned[:, 1:], x_BCT[..., ::2])
    for form in (x_BCT, turned, *pieces, x_BCT[:1], x_BCT[:, :1], x_BCT[..., :1]):
        before = form.clone()
        torch.testing.assert_close(elu(form), F.elu(form), rtol=1e-5, atol=3e-7)
        assert torch.equal(form, before)
        past_BCT = torch.randn(len(form), form.shape[1], 4)
        for state in (past_BCT, past_BCT[..., :0], past_BCT.mT.contiguous().mT):
            expected = torch.cat([state, F.elu(form)], dim=-1)
            torch.testing.assert_close(elu(form, state), expected, rtol=1e-5, atol=3e-7)
    assert elu(x_BCT[..., :0]).shape == (2, 3, 0)
    assert torch.equal(elu(x_BCT[..., :0], x_BCT), x_BCT)


@torch.no_grad()
def test_other_shapes_are_refused() -> None:
    """What is compiled would write past its memory."""
    module = ResidualLSTM(6, 2)
    for batch, width in ((1, 6), (3, 60), (3, 2)):
        right, wrong = torch.zeros(3, 2, 6), torch.zeros(batch, 2, width)
        for state in ((wrong, wrong), (right, wrong), (wrong, right)):
            with pytest.raises(ValueError, match="another shape"):
                module(torch.randn(3, 6, 2), state)
    with pytest.raises(ValueError, match="another shape"):
        module(torch.randn(3, 5, 2))
    for shape in ((1, 3, 4), (2, 1, 4)):
        with pytest.raises(ValueError, match="other streams"):
            elu(torch.randn(2, 3, 8), torch.randn(*shape))
