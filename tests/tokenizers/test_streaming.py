"""Streaming equals whole: any pieces give the same codes and samples, to the last bit."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FRACTIONAL, WHOLE, make_config

from quintet.config import STEP_SAMPLES, UserError, load_preset
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.streaming import CausalConv, CausalConvTranspose

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def _codec(strides: tuple[int, ...]) -> AudioTokenizer:
    torch.manual_seed(0)
    codec = AudioTokenizer(make_config(strides).audio).fold().eval()
    with torch.no_grad():  # as if filled from its own outputs, so that codes vary
        sound = torch.randn(4, 48_000)
        latents_BDT, _ = codec.encoder(sound[:, None])
        codec.quantizer.fill(latents_BDT.transpose(1, 2).flatten(0, 1))
    return codec


def _pieces(length: int, seed: int) -> list[int]:
    """Cuts of every kind: single samples, steps, odd lengths."""
    rng = np.random.default_rng(seed)
    pieces = [1, 7, STEP_SAMPLES]
    while sum(pieces) < length:
        pieces.append(int(rng.integers(1, 9_000)))
    pieces[-1] -= sum(pieces) - length
    return pieces


@pytest.mark.parametrize("strides", [WHOLE, FRACTIONAL])
@pytest.mark.parametrize("cut", ["steps", "anyhow"])
@torch.no_grad()
def test_streamed_equals_whole(strides: tuple[int, ...], cut: str) -> None:
    codec = _codec(strides)
    sound = torch.randn(2, 8 * STEP_SAMPLES)
    whole_BTQ, _ = codec.encode(sound)
    made_BS, _ = codec.decode(whole_BTQ)
    pieces = [STEP_SAMPLES] * 8 if cut == "steps" else _pieces(sound.shape[1], 1)
    state, codes = None, []
    for piece in sound.split(pieces, dim=1):
        part, state = codec.encode(piece, state)
        codes.append(part)
    assert torch.equal(torch.cat(codes, dim=1), whole_BTQ)
    state, made = None, []
    counts = [part.shape[1] for part in codes]
    for part in whole_BTQ.split(counts, dim=1):
        piece, state = codec.decode(part, state)
        made.append(piece)
    assert torch.equal(torch.cat(made, dim=1), made_BS)
    latents_BDT, state = codec.encoder(sound[:, None])[0], None
    for piece in sound.split(pieces, dim=1):
        part, state = codec.encoder(piece[:, None], state)
        assert torch.equal(part, latents_BDT[..., : part.shape[-1]])
        latents_BDT = latents_BDT[..., part.shape[-1] :]


@torch.no_grad()
def test_threads_change_no_digit() -> None:
    """Of sound that is long enough for the work to be divided among them."""
    codec, made = AudioTokenizer(load_preset("nano").audio).fold().eval(), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            sound = torch.randn(1, 6 * STEP_SAMPLES)
            codes, _ = codec.encode(sound)
            made.append((codes, *codec.decode(codes)[0]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*made, strict=True))


@torch.no_grad()
def test_sound_of_other_channels_or_precision_is_refused_or_taken_plainly() -> None:
    conv, turned = CausalConv(4, 6, 3), CausalConvTranspose(8, 4, 2)
    conv.fold()
    turned.fold()
    for layer, channels in ((conv, (2, 8)), (turned, (4, 16))):
        for wrong in channels:
            with pytest.raises((RuntimeError, ValueError)):
                layer(torch.randn(1, wrong, 20))
    with pytest.raises((RuntimeError, ValueError)):
        conv.double()(torch.randn(1, 4, 20))
    made, _ = conv(torch.randn(1, 4, 20).double())
    assert made.dtype == torch.float64


@torch.no_grad()
def test_each_step_holds_the_frames_that_the_configuration_says() -> None:
    codec = _codec(FRACTIONAL)
    state, counts = None, []
    for _ in range(8):
        codes, state = codec.encode(torch.randn(1, STEP_SAMPLES), state)
        counts.append(codes.shape[1])
    assert counts == [codec.config.frames_in(step) for step in range(8)]


@torch.no_grad()
def test_a_batch_of_streams_is_each_alone() -> None:
    codec = _codec(WHOLE)
    sound = torch.randn(3, 4 * STEP_SAMPLES)
    together, _ = codec.encode(sound)
    made, _ = codec.decode(together)
    for index in range(3):
        alone, _ = codec.encode(sound[index : index + 1])
        assert torch.equal(alone[0], together[index])
        assert torch.equal(codec.decode(alone)[0][0], made[index])


def test_no_gradient_reaches_earlier_sound() -> None:
    """Neither codec half looks ahead: frame t depends on the sound up to its end alone."""
    codec, hop = _codec(WHOLE), 2_000
    sound = torch.randn(1, 1, 5 * hop, requires_grad=True)
    latents_BDT, _ = codec.encoder(sound)
    for frame in range(5):
        total = latents_BDT[..., frame].square().sum()
        (gradient,) = torch.autograd.grad(total, sound, retain_graph=True)
        assert (gradient[..., (frame + 1) * hop :] == 0).all()
        assert (gradient[..., : (frame + 1) * hop] != 0).any()
    latents = torch.randn(1, codec.config.latent_dim, 5, requires_grad=True)
    made, _ = codec.decoder(latents)
    for frame, end in itertools.product(range(5), [hop]):
        total = made[..., frame * end : (frame + 1) * end].square().sum()
        (gradient,) = torch.autograd.grad(total, latents, retain_graph=True)
        assert (gradient[..., frame + 1 :] == 0).all() and (gradient[..., frame] != 0).any()


@pytest.mark.parametrize("strides", [WHOLE, FRACTIONAL])
@torch.no_grad()
def test_an_hour_takes_no_more_memory_than_a_minute(strides: tuple[int, ...]) -> None:
    """Neither the state's numbers nor the memory behind them grow with pieces of any length."""
    codec, rng = _codec(strides), np.random.default_rng(2)
    heard, voice, sizes = None, None, []
    for _ in range(60):
        piece = torch.randn(1, int(rng.integers(0, 9_000)))
        codes, heard = codec.encode(piece, heard)
        _, voice = codec.decode(codes, voice)
        sizes.append(_numbers((heard, voice)))
    _, heard = codec.encode(torch.randn(1, 600_000), heard)
    sizes.append(_numbers((heard, voice)))
    # Between one and two kernels of waiting samples in each layer, whatever came before.
    least = _numbers((codec.start_encode(), codec.start_decode()))
    assert least <= min(sizes) and max(sizes) < 3 * least


def _numbers(state: object) -> int:
    """That the state keeps in memory, those that it does not show included."""
    if isinstance(state, torch.Tensor):
        return state.untyped_storage().nbytes() // state.element_size()
    return sum(map(_numbers, state)) if isinstance(state, tuple | list) else 0


@pytest.mark.parametrize("strides", [WHOLE, FRACTIONAL])
@torch.no_grad()
def test_a_stream_cut_within_a_frame_waits_for_the_rest(strides: tuple[int, ...]) -> None:
    codec = _codec(strides)
    hop = codec.config.hop
    sound = torch.randn(1, 2 * hop)
    whole, _ = codec.encode(sound)
    state, counts, codes = None, [], []
    for piece in sound.split([0, 1, hop - 2, 0, 1, hop - 1, 1], dim=1):
        part, state = codec.encode(piece, state)
        counts.append(part.shape[1])
        codes.append(part)
    assert counts == [0, 0, 0, 0, 1, 0, 1] and part.dtype == torch.int64
    assert torch.equal(torch.cat(codes, dim=1), whole)
    silent, state = codec.decode(whole[:, :0])
    assert silent.shape == (1, 0)
    made, _ = codec.decode(whole, state)
    torch.testing.assert_close(made, codec.decode(whole)[0], **TOLERANCE)
    assert codec.encode(sound[:, : hop - 1])[0].shape == (1, 0, 3)


@torch.no_grad()
def test_long_sound_goes_in_pieces_that_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, sound = _codec(FRACTIONAL), torch.randn(1, 70_123)
    whole, _ = codec.encode(sound)
    made, _ = codec.decode(whole)
    monkeypatch.setattr("quintet.tokenizers.audio.GROUP", 25_000)
    monkeypatch.setattr("quintet.tokenizers.audio.PIECE", 7_001)
    assert torch.equal(codec.encode(sound)[0], whole)
    torch.testing.assert_close(codec.decode(whole)[0], made, **TOLERANCE)


@pytest.mark.parametrize("shortcut", ["identity", "conv"])
def test_inference_equals_training(shortcut: str) -> None:
    """The forms without gradients, on channels side by side, give what PyTorch's layers give."""
    audio = dataclasses.replace(make_config((3, 5)).audio, residual_shortcut=shortcut)
    torch.manual_seed(5)
    codec = AudioTokenizer(audio).fold()
    sound = torch.randn(3, 1, 1_000)
    for half, x_BCT in ((codec.encoder, sound), (codec.decoder, torch.randn(3, 6, 50))):
        slow, slow_state = half(x_BCT)
        with torch.no_grad():
            fast, state = half(x_BCT)
        assert slow.requires_grad
        torch.testing.assert_close(fast, slow.detach(), **TOLERANCE)
        again, _ = half(x_BCT, slow_state)
        with torch.no_grad():
            torch.testing.assert_close(half(x_BCT, state)[0], again.detach(), **TOLERANCE)


@pytest.mark.parametrize(
    ("sound", "complaint"),
    [
        (np.zeros((1, 6_000), np.float32), "type ndarray; give a torch tensor of floating-point"),
        (torch.zeros(6_000), "batch, samples"),
        (torch.zeros(1, 1, 6_000), "batch, samples"),
        (torch.zeros(1, 6_000, dtype=torch.int16), "floating-point"),
        (torch.tensor([[0.0, torch.nan]]), "not numbers"),
        (torch.tensor([[0.0, torch.inf]]), "not numbers"),
    ],
)
def test_sound_of_no_sense_is_refused(sound: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        _codec(WHOLE).encode(sound)


@pytest.mark.parametrize(
    ("codes", "complaint"),
    [
        (np.zeros((1, 2, 3), np.int64), "type ndarray; give a torch tensor of integers"),
        (torch.zeros(2, 3, dtype=torch.long), "batch, frames, codebooks.*at most 3"),
        (torch.zeros(1, 2, 4, dtype=torch.long), "batch, frames, codebooks.*at most 3"),
        (torch.zeros(1, 2, 3), "integers"),
        (torch.zeros(1, 2, 3, dtype=torch.complex64), "integers"),
        (torch.full((1, 2, 3), 16), "between 0 and 15"),
        (torch.full((1, 2, 3), -1), "between 0 and 15"),
    ],
)
def test_codes_of_no_sense_are_refused(codes: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        _codec(WHOLE).decode(codes)


@torch.no_grad()
def test_folding_weight_normalization_changes_nothing() -> None:
    torch.manual_seed(3)
    codec = AudioTokenizer(make_config().audio).eval()
    sound = torch.randn(1, 12_000)
    before, _ = codec.encoder(sound[:, None])
    after, _ = codec.fold().encoder(sound[:, None])
    torch.testing.assert_close(after, before, **TOLERANCE)
    assert all(value.is_contiguous() for value in codec.state_dict().values())


@pytest.mark.parametrize("channels", [4, 8, 16, 32])
@pytest.mark.parametrize("stride", [2, 4, 5, 6, 8, 10])
def test_bfloat16_training_has_the_gradients_of_float32(channels: int, stride: int) -> None:
    """Within rounding: some shapes' kernels are wrong on processors with AMX (PyTorch 2.13)."""
    torch.manual_seed(0)
    layers = [
        CausalConv(channels, 2 * channels, 2 * stride, stride),
        CausalConvTranspose(2 * channels, channels, stride),
    ]
    for layer in layers:
        sound = torch.randn(2, layer.conv.in_channels, 40 * stride)
        made = []
        for enabled in (False, True):
            x_BCT = sound.clone().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                y_BCT = layer(x_BCT)[0].float()
            weight = torch.linspace(-1, 1, y_BCT.numel()).sin().view_as(y_BCT)
            gradients = torch.autograd.grad((y_BCT * weight).sum(), [x_BCT, *layer.parameters()])
            made.append([y_BCT.detach(), *gradients])
        for exact, rounded in zip(*made, strict=True):
            assert torch.cosine_similarity(exact.flatten(), rounded.flatten(), 0) > 0.99


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64])
def test_codes_of_any_integer_type_decode(kind: torch.dtype) -> None:
    codec = _codec(WHOLE)
    codes = torch.randint(16, (1, 5, 3))
    assert torch.equal(codec.decode(codes.to(kind))[0], codec.decode(codes)[0])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_sound_of_any_float_type_encodes(kind: torch.dtype) -> None:
    codec, sound = _codec(WHOLE), torch.randn(1, 6_000).to(kind)
    assert torch.equal(codec.encode(sound)[0], codec.encode(sound.float())[0])


def test_a_batch_of_no_streams_stays_one() -> None:
    codec = _codec(WHOLE)
    codes, _ = codec.encode(torch.zeros(0, 6_000))
    assert codes.shape == (0, 3, 3)
    assert codec.decode(codes)[0].shape == (0, 6_000)
