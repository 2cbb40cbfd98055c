"""Streams that join late and leave early get what each would get alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from conftest import FRACTIONAL, WHOLE, make_config
from torch import Tensor

from quintet.config import STEP_SAMPLES, UserError
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.streams import (
    decode_streams,
    encode_streams,
    join_streams,
    select_streams,
)

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
UNEVEN = (3, 7)  # a hop of 21 samples, which divides next to nothing


def _codec(strides: tuple[int, ...]) -> AudioTokenizer:
    torch.manual_seed(0)
    codec = AudioTokenizer(make_config(strides).audio).fold().eval()
    with torch.no_grad():  # as if filled from its own outputs, so that codes vary
        latents_BDT, _ = codec.encoder(torch.randn(4, 1, 48_000))
        codec.quantizer.fill(latents_BDT.transpose(1, 2).flatten(0, 1))
    return codec


def _tensors(state: object) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from _tensors(part)


def _same(one: object, other: object) -> None:
    pairs = list(zip(_tensors(one), _tensors(other), strict=True))
    assert pairs
    for mine, yours in pairs:
        torch.testing.assert_close(mine, yours, **TOLERANCE)


@pytest.mark.parametrize("strides", [WHOLE, FRACTIONAL, UNEVEN])
@torch.no_grad()
def test_no_state_is_the_first_state(strides: tuple[int, ...]) -> None:
    codec = _codec(strides)
    sound = torch.randn(3, STEP_SAMPLES)
    codes, state = codec.encode(sound)
    codes_again, state_again = codec.encode(sound, codec.start_encode(3))
    assert torch.equal(codes, codes_again)
    _same(state, state_again)
    made, state = codec.decode(codes)
    made_again, state_again = codec.decode(codes, codec.start_decode(3))
    assert torch.equal(made, made_again)
    _same(state, state_again)
    for start in (codec.start_encode, codec.start_decode):
        assert all(len(part) == 5 for part in _tensors(start(5)))
    # With gradients and weight normalization, as in training, the states are the same ones.
    trained = AudioTokenizer(codec.config)
    with torch.enable_grad():
        _, state = trained.encoder(sound[:, None])
    assert [part.shape for part in _tensors(state)] == [
        part.shape for part in _tensors(codec.encode(sound)[1])
    ]


@pytest.mark.parametrize("strides", [WHOLE, FRACTIONAL, UNEVEN])
@pytest.mark.parametrize("cut", ["steps", "anyhow"])
@torch.no_grad()
def test_streams_that_come_and_go_are_each_alone(strides: tuple[int, ...], cut: str) -> None:
    codec, rng = _codec(strides), np.random.default_rng(4)
    lives = {0: (0, 9), 1: (0, 4), 2: (3, 9), 3: (5, 6), 4: (2, 8)}  # first round, last round
    pieces: dict[int, list[Tensor]] = {stream: [] for stream in lives}
    codes: dict[int, list[Tensor]] = {stream: [] for stream in lives}
    made: dict[int, list[Tensor]] = {stream: [] for stream in lives}
    heard: dict[int, object] = dict.fromkeys(lives)
    voice: dict[int, object] = dict.fromkeys(lives)
    for turn in range(10):
        here = [stream for stream, (first, last) in lives.items() if first <= turn <= last]
        for stream in here:
            size = STEP_SAMPLES if cut == "steps" else int(rng.choice([0, 1, 40, 997, 6_000]))
            pieces[stream].append(torch.randn(size))
        given = [pieces[stream][-1] for stream in here]
        heard_codes, states = encode_streams(codec, given, [heard[stream] for stream in here])
        heard.update(zip(here, states, strict=True))
        sounds, states = decode_streams(codec, heard_codes, [voice[stream] for stream in here])
        voice.update(zip(here, states, strict=True))
        for stream, code, sound in zip(here, heard_codes, sounds, strict=True):
            codes[stream].append(code)
            made[stream].append(sound)
    for stream in lives:
        alone_BTQ, _ = codec.encode(torch.cat(pieces[stream])[None])
        assert torch.equal(torch.cat(codes[stream]), alone_BTQ[0])
        alone_BS, _ = codec.decode(alone_BTQ)
        torch.testing.assert_close(torch.cat(made[stream]), alone_BS[0], **TOLERANCE)


@torch.no_grad()
def test_joining_and_selecting_are_inverse() -> None:
    codec = _codec(WHOLE)
    _, state = codec.encode(torch.randn(3, STEP_SAMPLES))
    parts = [select_streams(state, index) for index in range(3)]
    _same(join_streams(parts), state)
    _same(select_streams(state, [2, 0]), join_streams([parts[2], parts[0]]))
    assert all(len(part) == 1 for part in _tensors(parts[0]))


@torch.no_grad()
def test_streams_at_different_places_do_not_join() -> None:
    codec = _codec(WHOLE)
    states = [codec.encode(torch.randn(1, size))[1] for size in (6_000, 6_001)]
    with pytest.raises(ValueError, match="same place within a frame"):
        join_streams(states)


def test_streams_of_no_sense_are_refused() -> None:
    codec = _codec(WHOLE)
    with pytest.raises(UserError, match="not numbers"):
        encode_streams(codec, [torch.tensor([0.0, torch.nan])], [None])
    assert encode_streams(codec, [], []) == ([], [])


def test_a_stream_that_is_no_number_is_named_and_no_other_moves() -> None:
    codec = _codec(WHOLE)
    pieces = [torch.zeros(6_000), torch.full((6_000,), torch.nan)]
    with pytest.raises(UserError, match="Stream 1 "):
        encode_streams(codec, pieces, [None, None])
