"""The reference's claims, each taken back by itself: what `benchmarks.ablations` trains.

Every variant is the product's model with one part exchanged from outside; the product knows none
of them. What a variant changes is all that it changes, but for the parameters that it needs.

Shapes: B batch, T rows, N rows of a table, Q = num_codebooks, H query heads, G key-value heads,
E head width, D = d_model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quintet.config import OmniConfig
from quintet.model.attention import Attention
from quintet.model.embedding import Embedding, RowTensors, waves
from quintet.model.omni import Omni
from quintet.timeline.rows import Rows, concatenate, make_rows, single_column
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import NOT_ASKED, Sample, Vocabulary

SLOWEST = 16  # of the rotations: the period doubles from one pair to the next, so many times


class _WholeWidth(Embedding):
    """Tokens as wide as the model; the source flag is a learned vector, added."""

    def __init__(self, config: OmniConfig) -> None:
        nn.Module.__init__(self)
        sizes, audio = config.model, config.audio
        self.config = sizes
        self.text_image = nn.Embedding(config.text_image_vocab_size, sizes.d_model)
        self.audio = nn.Embedding(audio.num_codebooks * audio.codebook_size, sizes.d_model)
        offsets = torch.arange(audio.num_codebooks) * audio.codebook_size
        self.register_buffer("offsets", offsets, persistent=False)
        self.flag = nn.Parameter(torch.randn(sizes.d_model) * 0.1)
        nn.init.normal_(self.text_image.weight, std=0.5)
        nn.init.normal_(self.audio.weight, std=0.5 * audio.num_codebooks**-0.5)

    def forward(self, rows: RowTensors) -> Tensor:
        return self.tokens(rows) + rows.flag[..., None] * self.flag


class Added(_WholeWidth):
    """Position and time through a learned map each, added to the token."""

    def __init__(self, config: OmniConfig) -> None:
        super().__init__(config)
        sizes = config.model
        self.position = nn.Linear(sizes.d_position, sizes.d_model, bias=False)
        self.time = nn.Linear(sizes.d_time, sizes.d_model, bias=False)

    def forward(self, rows: RowTensors) -> Tensor:
        position = self.position(waves(rows.position, self.config.d_position))
        return super().forward(rows) + position + self.time(waves(rows.step, self.config.d_time))


class RotaryAttention(Attention):
    """Queries and keys turned by the place in the sequence (half of their pairs) and by the time
    (the other half), as in Su et al. 2021."""

    angles_BTP: Tensor  # of the pairs, E / 2 of them; set before each forward

    def _project(self, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super()._project(x_BTD)
        return self._turn(q), self._turn(k), v

    def _turn(self, x_BHTE: Tensor) -> Tensor:
        first, second = x_BHTE.chunk(2, dim=-1)
        angles = self.angles_BTP[:, None]
        sin, cos = angles.sin().to(x_BHTE.dtype), angles.cos().to(x_BHTE.dtype)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class RotaryOmni(Omni):
    def __init__(self, config: OmniConfig) -> None:
        super().__init__(config)
        self.embedding = _WholeWidth(config)
        for block in self.transformer.layers:
            block.attention = RotaryAttention(config.model)

    def forward(self, rows: RowTensors, *more: Any, **named: Any) -> Tensor:
        pairs = self.config.model.d_model // self.config.model.num_heads // 2
        place_T = torch.arange(rows.step.shape[1], device=rows.step.device)
        angles = torch.cat(
            [_angles(place_T.expand_as(rows.step), pairs - pairs // 2),
             _angles(rows.step, pairs // 2)],
            dim=-1,
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, RotaryAttention):
                module.angles_BTP = angles
        return super().forward(rows, *more, **named)


class BothOmni(RotaryOmni):
    """Concatenated as in the reference, and rotated besides."""

    def __init__(self, config: OmniConfig) -> None:
        super().__init__(config)
        self.embedding = Embedding(config.model, config.audio, config.text_image_vocab_size)


def _angles(values_BT: Tensor, pairs: int) -> Tensor:
    """[B, T, pairs], periods from 2 to 65,536 or so; in float64 until they are below a turn."""
    exponents = torch.linspace(1, SLOWEST, pairs, dtype=torch.float64, device=values_BT.device)
    return (2 * torch.pi * (values_BT[..., None] / 2**exponents).frac()).float()


class Flagless(Omni):
    """Who made a row is not told."""

    def forward(self, rows: RowTensors, *more: Any, **named: Any) -> Tensor:
        return super().forward(replace(rows, flag=torch.zeros_like(rows.flag)), *more, **named)


class SilenceRows(Omni):
    """`No Output` is fed back as a row of its own, so that its entries need an embedding."""

    def __init__(self, config: OmniConfig) -> None:
        super().__init__(config)
        audio = replace(config.audio, codebook_size=config.audio.codebook_size + 1)
        self.embedding = Embedding(config.model, audio, config.text_image_vocab_size + 1)


def added(config: OmniConfig) -> Omni:
    model = Omni(config)
    model.embedding = Added(config)
    return model


MODELS: dict[str, Callable[[OmniConfig], Omni]] = {
    "as it is": Omni,
    "added": added,
    "rotary": RotaryOmni,
    "concatenated and rotary": BothOmni,
    "no source flag": Flagless,
    "silence rows": SilenceRows,
}


def with_silence(
    rows: Rows, frames_in: Callable[[int], int], vocabulary: Vocabulary, num_codebooks: int
) -> Sample:
    """A live scene in which silence is spelt out: in every step a row that ends the words, and as
    many audio rows as the step has frames."""
    quiet_text = single_column(np.array([vocabulary.text_no_output]), num_codebooks)
    steps = np.unique(rows.step[rows.flag == 0])
    tables: list[Rows] = []
    for step in range(int(steps[0]), int(steps[-1]) + 1):
        mine = rows.step == step
        if step > steps[0]:
            spoken = rows.take(mine & (rows.stream == Stream.AUDIO_OUT))
            missing = frames_in(step) - len(spoken)
            quiet = np.full((missing, num_codebooks), vocabulary.audio_no_output)
            at = np.asarray(step)
            tables += [
                rows.take(mine & (rows.stream == Stream.TEXT_OUT)),
                make_rows(Stream.TEXT_OUT, Modality.TEXT, quiet_text, np.array([step]), at),
                spoken,
                make_rows(Stream.AUDIO_OUT, Modality.AUDIO, quiet, np.zeros(missing), at),
            ]
        tables.append(rows.take(mine & (rows.flag == 0)))
    spelt = concatenate(tables)
    for modality in (Modality.TEXT, Modality.AUDIO):  # positions count what was put in
        made = (spelt.modality == modality) & (spelt.flag == 1)
        spelt.position[made] = np.arange(made.sum())
    return _asked(spelt)


def _asked(rows: Rows) -> Sample:
    """Every output row is asked at the row before it; the rows spell out their own ends."""
    count, num_codebooks = rows.tokens.shape
    text = np.full(count, NOT_ASKED, np.int32)
    audio = np.full((count, num_codebooks), NOT_ASKED, np.int32)
    made = np.flatnonzero(rows.flag == 1)
    for row in made.tolist():
        if rows.stream[row] == Stream.TEXT_OUT:
            text[row - 1] = rows.tokens[row, 0]
        else:
            audio[row - 1] = rows.tokens[row]
    return Sample(rows, text, audio)
