"""What the heads answer by compiled functions is what PyTorch answers, by the same draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_config, make_model

from quintet.config import OmniConfig
from quintet.live.choices import Choices
from quintet.live.sampling import Sampling

WARM = Sampling(1.0, 0.8, 1.2, 0.95)
GREEDY = Sampling(0.0, 0.0, 0.0)


class _Plainly(Choices):
    """By PyTorch."""

    def follow(self) -> None:
        self.fused = None


def _answers(choices: Choices, sampling: Sampling, seed: int = 0) -> list[object]:
    """To many vectors, each drawn for by itself."""
    made: list[object] = []
    generator = torch.Generator()
    choices.follow()
    for index in range(60):
        hidden_1D = torch.randn(1, choices.model.config.model.d_model, generator=generator)
        generator.manual_seed(100 * seed + index)
        frame = choices.frame(hidden_1D, sampling, generator)
        word, silence = choices.word(hidden_1D, sampling, generator)
        made.append([
            None if frame is None else frame.tolist(), word,
            choices.image_code(hidden_1D, sampling, generator),
            pytest.approx(silence, rel=1e-4),
            pytest.approx(choices.silence_of_audio(hidden_1D), rel=1e-4),
            generator.get_state().tolist(),  # both have drawn alike
        ])  # fmt: skip
    return made


def _config(form: str) -> OmniConfig:
    config = make_config()
    return replace(config, model=replace(config.model, audio_head=form))  # type: ignore[arg-type]


@torch.inference_mode()
@pytest.mark.parametrize("form", ["parallel", "chained", "digits"])
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_both_ways_answer_alike(form: str, sampling: Sampling) -> None:
    model = make_model(_config(form))
    known = model.config.text.vocab_size - 3
    expected = _answers(_Plainly(model, known), sampling)
    assert _answers(Choices(model, known), sampling) == expected
    frames, words, codes, *_ = zip(*expected, strict=True)  # type: ignore[call-overload]
    assert None in frames and any(frame is not None for frame in frames)
    assert len(set(codes)) > 5 and len(set(words)) > 5
    assert all(word is None or word < known for word in words)


@torch.inference_mode()
@pytest.mark.parametrize("make", [Choices, _Plainly])
def test_what_is_all_but_cold_is_cold(make: type[Choices]) -> None:
    """1 / T of the smallest numbers is infinite."""
    model = make_model(_config("chained"))
    choices = make(model, 300)
    expected = _answers(choices, GREEDY)
    assert _answers(choices, Sampling(1e-40, 1e-40, 1e-40)) == expected
    for modality, at in (("audio", 0), ("text", 1), ("image", 2)):  # and what is not cold is not
        warm = replace(GREEDY, **{f"{modality}_temperature": 0.3}, top_p=1.0)
        told = zip(_answers(choices, warm), expected, strict=True)
        assert any(one[at] != other[at] for one, other in told)  # type: ignore[index]


@torch.inference_mode()
def test_it_follows_the_weights() -> None:
    """Written in place, and replaced by others."""
    model = make_model(_config("chained"))
    choices = Choices(model, 300)
    before = _answers(choices, GREEDY)
    for parameter in model.audio_head.parameters():
        parameter.mul_(-1)
    model.text_image_head.weight.data = model.text_image_head.weight.flip(0).contiguous()
    after = _answers(choices, GREEDY)
    assert after != before and after == _answers(_Plainly(model, 300), GREEDY)


@torch.inference_mode()
def test_other_precisions_take_pytorchs_way() -> None:
    model = make_model(_config("chained")).double()
    hidden_1D = torch.randn(1, model.config.model.d_model, dtype=torch.float64)
    choices = Choices(model, 300)
    choices.follow()
    assert choices.fused is None
    assert np.isfinite(choices.word(hidden_1D, WARM, torch.Generator())[1])


@torch.inference_mode()
def test_it_follows_weights_that_are_replaced() -> None:
    """One of them, or a whole head, after a session has begun; or laid otherwise in memory."""
    model = make_model(_config("chained"))
    model.prepare()
    choices, other = Choices(model, 300), make_model(_config("chained"), seed=5)
    before = _answers(choices, GREEDY)

    def check() -> None:
        nonlocal before
        after = _answers(choices, GREEDY)
        assert after != before and after == _answers(_Plainly(model, 300), GREEDY)
        before = after

    model.audio_head.sub_heads[0].weight = other.audio_head.sub_heads[0].weight
    check()
    model.audio_head = other.audio_head
    check()
    model.text_image_head.weight = other.text_image_head.weight
    check()
    mixer = model.audio_head.mixers[0][1]
    mixer.weight = torch.nn.Parameter(mixer.weight.T)
    check()
    assert choices.fused is None


@torch.inference_mode()
@pytest.mark.parametrize("make", [Choices, _Plainly])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_what_is_no_number_is_told(make: type[Choices], value: float, sampling: Sampling) -> None:
    model = make_model(_config("chained"))
    choices, hidden_1D = make(model, 300), torch.ones(1, model.config.model.d_model)
    model.text_image_head.weight[7] = value
    model.audio_head.sub_heads[0].weight[3] = value
    model.text_image_head.weight[-5] = value
    choices.follow()
    for ask in (choices.frame, choices.word, choices.image_code):
        with pytest.raises(FloatingPointError, match="no numbers"):
            ask(hidden_1D, sampling, torch.Generator())


@torch.inference_mode()
def test_of_many_equal_entries_both_ways_take_the_same() -> None:
    model = make_model(_config("chained"))
    for head in (model.text_image_head, *model.audio_head.sub_heads):
        head.weight.zero_()
    expected = _answers(_Plainly(model, 300), WARM)
    assert _answers(Choices(model, 300), WARM) == expected
    assert len({codes for _, _, codes, *_ in expected}) > 10  # type: ignore[misc]
