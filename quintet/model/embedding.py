"""Rows -> vectors: token, position, time and source flag side by side, not added. Where a preset
turns queries and keys instead (`model.rotary`), the widths of position and time may be 0.

Shapes: B batch, T rows, Q = num_codebooks, D = d_model.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from quintet.config import AudioConfig, ModelConfig
from quintet.timeline.rows import Rows
from quintet.timeline.streams import Modality

# Powers of two: periods of 2 to 65,536 rows or steps. So many steps are four and a half hours.
SHORTEST, LONGEST = 1, 16


@dataclass(frozen=True)
class RowTensors:
    """The columns of `Rows` that the model reads, as tensors."""

    tokens: Tensor  # int64 [B, T, Q]
    is_audio: Tensor  # bool [B, T]
    position: Tensor  # int64 [B, T]
    step: Tensor  # int64 [B, T]
    flag: Tensor  # float [B, T]
    place: Tensor  # int64 [B, T]: in the order in which rows see one another

    @classmethod
    def from_rows(
        cls,
        tables: list[Rows],
        places: list[np.ndarray] | None = None,
        longest: int | None = None,
    ) -> RowTensors:
        """A batch of tables, padded at the end to the longest: a copy, whose memory is its own.

        Args:
            places: of each table's rows [N], where they do not lie in that order.
            longest: to how many rows; None is as many as the longest has.
        """
        lengths = [len(rows) for rows in tables]
        longest = longest or max(lengths)
        even = min(lengths) == longest  # as the rows of a session are, which has no time to lose

        def stack(columns: list[np.ndarray], dtype: torch.dtype) -> Tensor:
            if not even:
                stacked = padded_columns(columns, longest, 0)
            else:
                stacked = columns[0][None] if len(columns) == 1 else np.stack(columns)
            return torch.from_numpy(stacked).to(dtype, copy=True)

        return cls(
            stack([r.tokens for r in tables], torch.long),
            stack([r.modality == Modality.AUDIO for r in tables], torch.bool),
            stack([r.position for r in tables], torch.long),
            stack([r.step for r in tables], torch.long),
            stack([r.flag for r in tables], torch.float32),
            torch.arange(longest).expand(len(tables), -1)
            if places is None
            else stack(places, torch.long),
        )

    def to(self, device: torch.device | str) -> RowTensors:
        return RowTensors(*(getattr(self, f.name).to(device) for f in fields(self)))

    def take(self, samples: slice, rows: Tensor) -> RowTensors:
        return RowTensors(*(getattr(self, f.name)[samples][:, rows] for f in fields(self)))


def padded_columns(columns: list[np.ndarray], longest: int, value: int) -> np.ndarray:
    """Columns [N, ...] of different lengths as one table [B, longest, ...]."""
    shape = (len(columns), longest, *columns[0].shape[1:])
    table = np.full(shape, value, columns[0].dtype)
    for row, column in zip(table, columns, strict=True):
        row[: len(column)] = column
    return table


def _periods(width: int, device: torch.device) -> Tensor:
    # Not kept: what is first made while a step is tried on fake tensors (`train.dry_run`) is fake.
    exponents = (SHORTEST, LONGEST, width // 2)
    return torch.logspace(*exponents, base=2.0, dtype=torch.float64, device=device)


def waves(values: Tensor, width: int) -> Tensor:
    """Sines and cosines [..., width] of integers [...], periods from 2 to 65,536.

    A function, not a table, so it never runs out. Width 32 gives exactly the powers of two,
    which makes the place inside a picture's grid readable from the running position.
    """
    # In float64: an hour's positions times two pi lose the fast periods in float32.
    angle = 2 * torch.pi * (values[..., None] / _periods(width, values.device)).frac()
    return torch.cat([angle.sin(), angle.cos()], dim=-1).float()


class Embedding(nn.Module):
    """[B, T] rows -> [B, T, D]: (token | position | time | flag)."""

    offsets: Tensor  # [Q]: where each codebook's entries begin

    def __init__(self, config: ModelConfig, audio: AudioConfig, text_image_vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.text_image = nn.Embedding(text_image_vocab_size, config.d_token)
        # One-hots of Q codebooks, flattened, through one linear map: a sum of Q look-ups.
        self.audio = nn.Embedding(audio.num_codebooks * audio.codebook_size, config.d_token)
        offsets = torch.arange(audio.num_codebooks) * audio.codebook_size
        self.register_buffer("offsets", offsets, persistent=False)
        nn.init.normal_(self.text_image.weight, std=0.5)
        nn.init.normal_(self.audio.weight, std=0.5 * audio.num_codebooks**-0.5)

    def tokens(self, rows: RowTensors) -> Tensor:
        """The token's part alone, [B, T, d_token]."""
        audio_BT1 = rows.is_audio[..., None]
        text_ids_BT = rows.tokens[..., 0].masked_fill(rows.is_audio, 0)
        codes_BTQ = rows.tokens.masked_fill(~audio_BT1, 0) + self.offsets
        return torch.where(audio_BT1, self.audio(codes_BTQ).sum(-2), self.text_image(text_ids_BT))

    def forward(self, rows: RowTensors) -> Tensor:
        places = ((rows.position, self.config.d_position), (rows.step, self.config.d_time))
        waved = [waves(values, width) for values, width in places if width]
        return torch.cat([self.tokens(rows), *waved, rows.flag[..., None]], dim=-1)
