"""Streams that join and leave a batch: their states, and the codec fed many of them at once.

A streaming state is a tensor, or a tuple of states; in each tensor the batch comes first.

Shapes: B batch, S samples, T latent frames, Q = num_codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from quintet.config import UserError
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.streaming import State


def select_streams(state: State, index: int | Sequence[int]) -> State:
    """The state of the streams at `index`, in that order (of one stream: a batch of one).

    It owns its memory, so the batch that a stream has left can be freed.
    """
    if isinstance(state, Tensor):
        places = [index] if isinstance(index, int) else list(index)
        return state[places]
    return tuple(select_streams(part, index) for part in state)


def join_streams(states: Sequence[State]) -> State:
    """One state of all the streams, in order.

    Raises:
        ValueError: the streams stand at different places within a frame, so that one waits with
            more samples than another; `encode_streams` keeps such apart.
    """
    assert states, "no streams to join"
    if len({_shape(state) for state in states}) != 1:
        raise ValueError(
            "Only streams of one codec at the same place within a frame can be joined; "
            "use encode_streams for others."
        )
    if isinstance(states[0], Tensor):
        return torch.cat(list(states))
    return tuple(join_streams(parts) for parts in zip(*states, strict=True))


def _shape(state: State) -> tuple:
    """Of every tensor of a state, without the batch."""
    if isinstance(state, Tensor):
        return tuple(state.shape[1:])
    return tuple(_shape(part) for part in state)


def encode_streams(
    codec: AudioTokenizer, pieces: Sequence[Tensor], states: Sequence[State]
) -> tuple[list[Tensor], list[State]]:
    """Feed each stream its piece, those together that are alike.

    Args:
        pieces: sound [S] of each stream; lengths may differ.
        states: of each stream, a batch of one; None is a stream that begins.

    Returns:
        The codes [T, Q] of the frames that each stream completed, and its state.

    Raises:
        UserError: the sound of a stream holds what is no number; no stream has moved.
    """
    for place, piece in enumerate(pieces):
        if not piece.isfinite().all():
            raise UserError(f"Stream {place} holds samples that are not numbers; leave it out.")
    started = [codec.start_encode() if state is None else state for state in states]
    return _run(codec.encode, pieces, started)


def decode_streams(
    codec: AudioTokenizer, pieces: Sequence[Tensor], states: Sequence[State]
) -> tuple[list[Tensor], list[State]]:
    """As `encode_streams`, from codes [T, Q] of each stream to its sound [S]."""
    started = [codec.start_decode() if state is None else state for state in states]
    return _run(codec.decode, pieces, started)


def _run(
    step: Callable[[Tensor, State], tuple[Tensor, State]],
    pieces: Sequence[Tensor],
    states: Sequence[State],
) -> tuple[list[Tensor], list[State]]:
    alike: dict[tuple, list[int]] = {}
    for place, (piece, state) in enumerate(zip(pieces, states, strict=True)):
        alike.setdefault((tuple(piece.shape), _shape(state)), []).append(place)
    made: dict[int, Tensor] = {}
    after: dict[int, State] = {}
    for places in alike.values():
        batch = torch.stack([pieces[place] for place in places])
        outputs, state = step(batch, join_streams([states[place] for place in places]))
        for row, place in enumerate(places):
            # Of their own memory: a stream that is kept must not keep the others'.
            made[place] = outputs[row].clone() if len(places) > 1 else outputs[row]
            after[place] = select_streams(state, row) if len(places) > 1 else state
    return [made[place] for place in range(len(pieces))], [after[p] for p in range(len(pieces))]
