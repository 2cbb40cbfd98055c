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
from quintet.model.embedding import Embedding, RowTensors, waves
from quintet.model.omni import Omni
from quintet.timeline.rows import Rows, concatenate, make_rows, single_column
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import NOT_ASKED, Sample, Vocabulary


class Added(Embedding):
    """Tokens as wide as the model; position and time through a learned map each, and the source
    flag as a learned vector, are added."""

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
        self.position = nn.Linear(sizes.d_position, sizes.d_model, bias=False)
        self.time = nn.Linear(sizes.d_time, sizes.d_model, bias=False)

    def forward(self, rows: RowTensors) -> Tensor:
        position = self.position(waves(rows.position, self.config.d_position))
        time = self.time(waves(rows.step, self.config.d_time))
        return self.tokens(rows) + rows.flag[..., None] * self.flag + position + time


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


def _turned(config: OmniConfig, share: float) -> OmniConfig:
    """Place and time are in the angles of queries and keys, and in such a share of what the
    reference concatenates besides."""
    width = int(share * _width(config))
    sizes = replace(config.model, rotary=True, d_position=width, d_time=width)
    return replace(config, model=sizes)


def _unturned(config: OmniConfig) -> OmniConfig:
    """As the reference has it, to which everything else is compared."""
    width = _width(config)
    sizes = replace(config.model, rotary=False, d_position=width, d_time=width)
    return replace(config, model=sizes)


def _width(config: OmniConfig) -> int:
    """Of position and of time, concatenated: 32 of nano's 192."""
    return config.model.d_model // 6


def added(config: OmniConfig) -> Omni:
    model = Omni(_unturned(config))
    model.embedding = Added(config)
    return model


MODELS: dict[str, Callable[[OmniConfig], Omni]] = {
    "as it is": lambda config: Omni(_unturned(config)),
    "added": added,
    "rotary": lambda config: Omni(_turned(config, 0)),
    "concatenated and rotary": lambda config: Omni(_turned(config, 1)),
    "no source flag": lambda config: Flagless(_unturned(config)),
    "silence rows": lambda config: SilenceRows(_unturned(config)),
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
