"""What is compiled for a few rows equals the layer, and follows its weights."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from conftest import make_config

from quintet.model.few_rows import FEW, FewRows
from quintet.model.heads import TextImageHead

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def _head() -> TextImageHead:
    torch.manual_seed(0)
    return TextImageHead(make_config().model, 77, 30)


@pytest.mark.parametrize("count", [0, 1, 5, FEW, FEW + 1])
def test_logits_are_those_of_training(count: int) -> None:
    head = _head()
    hidden_ND = torch.randn(count, head.in_features)
    learned = head(hidden_ND).detach()
    with torch.no_grad():
        words, codes = head.words(hidden_ND), head.image_codes(hidden_ND)
    torch.testing.assert_close(words, torch.cat([learned[:, :30], learned[:, -1:]], 1), **CLOSE)
    torch.testing.assert_close(codes, learned[:, 30:-1], **CLOSE)
    assert ("words" in head._few) == (count <= FEW)
    assert head.words(hidden_ND.requires_grad_()).requires_grad


def test_a_row_is_the_same_in_every_batch() -> None:
    head, hidden_ND = _head(), torch.randn(9, make_config().model.d_model)
    with torch.no_grad():
        alone = torch.cat([head.image_codes(row_1D) for row_1D in hidden_ND.split(1)])
        assert torch.equal(alone, head.image_codes(hidden_ND))


def test_other_widths_and_precisions_take_the_plain_way() -> None:
    head, width = _head(), make_config().model.d_model
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="shape"):
            head.words(torch.randn(2, width // 2))
        with pytest.raises(ValueError, match="do not fit"):
            FewRows(head.weight, slice(5))(torch.randn(2, width // 2))
        with torch.autocast("cpu", torch.bfloat16):
            assert head.words(torch.randn(2, width)).dtype == torch.bfloat16
        assert head.double().words(torch.randn(2, width).double()).dtype == torch.float64


def test_an_optimizer_that_counts_no_writes_is_seen_by_train() -> None:
    head, hidden_ND = _head(), torch.randn(3, make_config().model.d_model)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1, fused=True)
    with torch.no_grad():
        before = head.eval().words(hidden_ND)
    head.train().words(hidden_ND).sum().backward()
    optimizer.step()
    with torch.no_grad():
        after = head.eval().words(hidden_ND)
    torch.testing.assert_close(after[:, 0], (hidden_ND @ head.weight[0]).detach(), **CLOSE)
    assert not torch.allclose(before, after)


def test_weights_that_changed_are_those_of_the_next_call() -> None:
    head, hidden_ND = _head(), torch.randn(3, make_config().model.d_model)

    def follows(one: TextImageHead) -> bool:
        with torch.no_grad():
            return torch.allclose(one.words(hidden_ND)[:, 0], hidden_ND @ one.weight[0], atol=1e-5)

    assert follows(head)
    with torch.no_grad():
        head.weight.mul_(2)
    assert follows(head)
    head.weight.data = head.weight.flip(0).detach().contiguous()
    assert follows(head)
    copies = copy.deepcopy(head), pickle.loads(pickle.dumps(head))
    for copied in copies:
        with torch.no_grad():
            copied.weight.neg_()
        assert follows(copied) and follows(head)
    assert set(head.state_dict()) == {"weight"}
