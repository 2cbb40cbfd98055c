"""Streaming equals whole: any pieces give the same codes and samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conftest import FRACTIONAL, WHOLE, make_config

from quintet.config import STEP_SAMPLES
from quintet.tokenizers.audio import AudioTokenizer

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
    torch.testing.assert_close(torch.cat(made, dim=1), made_BS, **TOLERANCE)


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
        torch.testing.assert_close(codec.decode(alone)[0][0], made[index], **TOLERANCE)


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


@torch.no_grad()
def test_the_state_stays_small() -> None:
    codec, state, sizes = _codec(WHOLE), None, []
    for _ in range(12):
        _, state = codec.encode(torch.randn(1, 3_500), state)
        sizes.append(_numbers(state))
    assert max(sizes) < 60_000 and max(sizes[6:]) <= max(sizes[:6])


def _numbers(state: object) -> int:
    if isinstance(state, torch.Tensor):
        return state.numel()
    return sum(map(_numbers, state)) if isinstance(state, tuple | list) else 0


@torch.no_grad()
def test_folding_weight_normalization_changes_nothing() -> None:
    torch.manual_seed(3)
    codec = AudioTokenizer(make_config().audio).eval()
    sound = torch.randn(1, 12_000)
    before, _ = codec.encoder(sound[:, None])
    after, _ = codec.fold().encoder(sound[:, None])
    torch.testing.assert_close(after, before, **TOLERANCE)
