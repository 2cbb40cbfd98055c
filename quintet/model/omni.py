"""Omni: rows -> hidden vectors -> the answers of two heads. Written for one device.

Shapes: B batch, T rows, K = B * T, N questions to the text+image head, M to the audio head,
D = d_model, Q = num_codebooks, S choices of a frame, R entries of a choice.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintet.config import OmniConfig
from quintet.model import rotary
from quintet.model.attention import Mask, dense_mask, mask_of
from quintet.model.cache import KVCache
from quintet.model.decode import Trunk
from quintet.model.embedding import Embedding, RowTensors, padded_columns
from quintet.model.graphs import FEW, Graphs
from quintet.model.heads import AudioHead, TextImageHead, row_losses
from quintet.model.transformer import Transformer
from quintet.timeline.masks import FOREVER, Sight, line_sight
from quintet.timeline.packing import dealt, padded
from quintet.timeline.targets import NOT_ASKED, Sample, Vocabulary, join


@dataclass(frozen=True)
class Batch:
    """Samples in lines padded to one length, and where each head is asked (flat index into
    B * T)."""

    rows: RowTensors
    text_at: Tensor  # int64 [N]
    text_target: Tensor  # int64 [N]
    audio_at: Tensor  # int64 [M]
    audio_target: Tensor  # int64 [M, Q]
    sight: Sight | None = None  # who sees whom in whole lines; plainly causal without
    mask: Tensor | None = None  # the same, worked out (`masked`)
    whole: Batch | None = None  # what this is a share of, if it is one
    starts: Tensor | None = None  # int64 [samples]: where each begins (flat index into B * T)

    @classmethod
    def from_samples(cls, samples: list[Sample], window_steps: int = FOREVER) -> Batch:
        """A line for each sample."""
        return cls.from_lines([[sample] for sample in samples], window_steps)

    @classmethod
    def from_lines(
        cls,
        lines: list[list[Sample]],
        window_steps: int = FOREVER,
        pieces: int = 1,
        multiple: int = 1,
    ) -> Batch:
        """Lines of samples (`timeline.packing`) that do not see one another.

        Args:
            window_steps: no row sees what lies that many steps back.
            pieces: among so many devices each line can be dealt, in equal pieces.
            multiple: of so many rows are lines.
        """
        samples = [line[0] if len(line) == 1 else join(line) for line in lines]
        longest = padded(-(-max(len(s) for s in samples) // multiple) * multiple, pieces)
        before = [np.cumsum([0, *map(len, line[:-1])]) for line in lines]
        starts = np.concatenate([i * longest + rows for i, rows in enumerate(before)])
        text = padded_columns([s.text_target for s in samples], longest, NOT_ASKED).reshape(-1)
        audio = padded_columns([s.audio_target for s in samples], longest, NOT_ASKED)
        audio = audio.reshape(-1, audio.shape[2])
        text_at = np.flatnonzero(text != NOT_ASKED)
        audio_at = np.flatnonzero(audio[:, 0] != NOT_ASKED)
        tables = [s.rows for s in samples]
        packed = any(len(line) > 1 for line in lines)
        slides = any(np.ptp(rows.step) >= window_steps for rows in tables)
        needed = line_sight([[s.rows for s in line] for line in lines], window_steps, longest)
        return cls(
            RowTensors.from_rows(tables, longest=longest),
            torch.from_numpy(text_at),
            torch.from_numpy(text[text_at].astype(np.int64)),
            torch.from_numpy(audio_at),
            torch.from_numpy(audio[audio_at].astype(np.int64)),
            needed if packed or slides else None,
            starts=torch.from_numpy(starts),
        )

    def share(self, rank: int, count: int, pieces: int = 1) -> Self:
        """Share `rank` of `count`: every n-th line, or, where each `pieces` shares in a row have
        the same lines, of each of these a piece, dealt as `timeline.packing` says. Its losses are
        parts of those of the whole batch: the sums over its rows, divided by what the whole batch
        asks. A piece may begin within a sample, so that it has no `starts`."""
        (group, piece), groups = divmod(rank, pieces), count // pieces
        assert groups * pieces == count, "shares of no equal groups"
        lines, longest = slice(group, None, groups), self.rows.step.shape[1]
        rows = dealt(torch.arange(longest), 0, pieces)[piece]
        place = torch.full((longest,), -1)  # of each row of a line among those of the share
        place[rows] = torch.arange(len(rows))

        def taken(at: Tensor) -> tuple[Tensor, Tensor]:
            """Which of the questions at `at` are in the share, and where they stand there."""
            line, row = at // longest, place[at % longest]
            mine = (line % groups == group) & (row >= 0)
            return mine, (line // groups * len(rows) + row)[mine]

        text, text_at = taken(self.text_at)
        audio, audio_at = taken(self.audio_at)
        starts = None if self.starts is None or pieces > 1 else taken(self.starts)[1]
        return replace(
            self,
            rows=self.rows.take(lines, rows), sight=self.sight and self.sight.take(lines),
            text_at=text_at, text_target=self.text_target[text],
            audio_at=audio_at, audio_target=self.audio_target[audio],
            starts=starts, whole=self,
        )  # fmt: skip

    def filled(self, multiple: int) -> Self:
        """With as many questions to each head as is a multiple of that, unless there are none;
        what is more counts nowhere. So batches come in few shapes."""
        text, audio = -len(self.text_at) % multiple, -len(self.audio_at) % multiple
        return replace(
            self,
            starts=None,  # of samples, which would be told to ask what is more
            text_at=F.pad(self.text_at, (0, text)),
            text_target=F.pad(self.text_target, (0, text), value=NOT_ASKED),
            audio_at=F.pad(self.audio_at, (0, audio)),
            audio_target=F.pad(self.audio_target, (0, 0, 0, audio), value=NOT_ASKED),
        )

    def masked(self) -> Self:
        """With a dense mask on the device of its rows instead of who sees whom."""
        if self.sight is None:
            return self
        return replace(self, sight=None, mask=dense_mask(self.sight, self.rows.step.device))

    def asks_text(self) -> Tensor:
        """Which questions to the text+image head [N] are any: others fill it up."""
        return self.text_target != NOT_ASKED

    def asks_audio(self) -> Tensor:
        """The same of those to the audio head [M]."""
        return self.audio_target[:, 0] != NOT_ASKED

    def opens_text(self) -> Tensor:
        """Of the questions to the text+image head [N], those that ask whether it answers at all: at
        a row that was put in. (Where the next row is learned, whoever's it is, all do.)"""
        return (self.rows.flag.flatten()[self.text_at] == 0) & self.asks_text()

    def opens_audio(self) -> Tensor:
        """The same of those to the audio head [M]: also after words of the same step."""
        at = self.audio_at
        opens_M = (self.rows.flag.flatten()[at] == 0) | ~self.rows.is_audio.flatten()[at]
        return opens_M & self.asks_audio()

    def to(self, device: torch.device) -> Self:
        """On `device`; the whole, of which only questions are counted, stays where it is."""
        return replace(
            self,
            rows=self.rows.to(device),
            text_at=self.text_at.to(device), text_target=self.text_target.to(device),
            audio_at=self.audio_at.to(device), audio_target=self.audio_target.to(device),
            starts=None if self.starts is None else self.starts.to(device),
            mask=None if self.mask is None else self.mask.to(device),
        )  # fmt: skip


class Omni(nn.Module):
    """One transformer for every modality, stream and stage."""

    def __init__(self, config: OmniConfig) -> None:
        super().__init__()
        self.config = config
        vocab_size = config.text_image_vocab_size
        self.vocabulary = Vocabulary(vocab_size, config.audio.codebook_size)
        self.embedding = Embedding(config.model, config.audio, vocab_size)
        self.transformer = Transformer(config.model)
        self.text_image_head = TextImageHead(config.model, vocab_size, config.text.vocab_size)
        self.audio_head = AudioHead(config.model, config.audio)
        self.cuda_graphs = False  # of sessions: their rows are replayed (`model.graphs`)
        self.trunk: Trunk | None = None  # the transformer's weights, once a session has begun
        self.register_load_state_dict_post_hook(_forget_trunk)

    def __getstate__(self) -> dict[str, Any]:
        """A copy takes its own weights for its sessions."""
        return self.__dict__ | {"trunk": None}

    def _apply(self, *given: Any, **named: Any) -> Self:
        self.trunk = None  # the weights may be other parameters afterwards
        return super()._apply(*given, **named)

    def train(self, mode: bool = True) -> Self:
        self.trunk = None  # an optimizer of fused steps writes without counting
        return super().train(mode)

    @property
    def device(self) -> torch.device:
        return self.text_image_head.weight.device

    def forward(
        self,
        rows: RowTensors,
        mask: Mask | None = None,
        cache: KVCache | None = None,
        is_row_BT: np.ndarray | None = None,
    ) -> Tensor:
        """Hidden vectors [B, T, D] of rows in live order (or in any order, with its mask).

        With a `cache` the rows, on any device, continue those of their session and are added to it;
        where `is_row_BT` is False a session has none, and the vector means nothing. Nothing is
        learned through a cache.
        """
        if cache is None:
            return self.transformer(self.embedding(rows), mask, self.turns(rows.place, rows.step))
        assert mask is None, "a cache knows who sees whom"
        self.trunk = self.trunk or Trunk.of(self.transformer)
        place = cache.place(rows.step.cpu().numpy(), is_row_BT)
        if self.cuda_graphs and rows.step.shape[1] <= FEW:
            if cache.graphs is None or cache.graphs.trunk is not self.trunk:
                cache.graphs = Graphs(self, cache)
            return cache.graphs.extend(rows, place)
        rows = rows.to(self.device)
        turned = self.turns(torch.from_numpy(place.order_BT).to(self.device), rows.step)
        return self.trunk.extend(self.embedding(rows), cache, place, turned)

    @torch.inference_mode()
    def prepare(self) -> None:
        """For sessions, before their clock runs: what they compute is compiled, which takes some
        seconds where this processor has never done so, and little afterwards."""
        if self.trunk is not None or self.device.type != "cpu":
            return
        zero_11 = torch.zeros(1, 1, dtype=torch.long)
        row = RowTensors(
            zero_11[..., None].expand(1, 1, self.config.audio.num_codebooks), zero_11 > 0,
            zero_11, zero_11, zero_11.float(), zero_11,
        )  # fmt: skip
        from quintet.compiled import first_call  # Numba, which takes a second to load
        from quintet.model.fused import extend_layer

        with first_call(extend_layer):
            self(row, cache=KVCache(self.config.model, 1))
        importlib.import_module("quintet.model.fused_heads")  # as it is read

    def turns(self, place_BT: Tensor, step_BT: Tensor) -> Tensor | None:
        """Of queries and keys, where the preset has them turned."""
        sizes = self.config.model
        return rotary.turns(place_BT, step_BT, sizes.head_width) if sizes.rotary else None

    def hidden(self, batch: Batch) -> Tensor:
        """Hidden vectors [B * T, D] of a batch's rows, seen as it says."""
        rows, sight = batch.rows, batch.sight
        mask = batch.mask if sight is None else mask_of(sight, rows.step.device)
        hidden_BTD: Tensor = self(rows, mask)
        return hidden_BTD.flatten(0, 1)

    def losses(
        self, batch: Batch, text_weight: float = 1.0, turn_weight: float = 0.0
    ) -> dict[str, Tensor]:
        """Cross-entropy in nats an asked row: "text_image", "audio" (summed over the choices of a
        frame), and "loss", their sum. Heads run only where they are asked.

        Words count `text_weight` times in the mean: a word is one row and a picture hundreds. With
        a `turn_weight` that many times "turn" is in the sum: how well each head tells, where it is
        first asked for an answer, whether it has one; the sum of both means, in nats a question.
        """
        hidden_KD, whole = self.hidden(batch), batch.whole or batch
        zero = hidden_KD.new_zeros(())
        text = audio = (zero, zero)
        # A share that asks nothing of a head still runs it, on no rows, beside those that do.
        if len(whole.text_at):
            text = self._text_losses(hidden_KD, batch, whole, text_weight, bool(turn_weight))
        if len(whole.audio_at):
            audio = self._audio_losses(hidden_KD, batch, whole, bool(turn_weight))
        losses = {"text_image": text[0], "audio": audio[0]}
        if not turn_weight:
            return losses | {"loss": text[0] + audio[0]}
        turn = text[1] + audio[1]
        return losses | {"turn": turn, "loss": text[0] + audio[0] + turn_weight * turn}

    def _text_losses(
        self, hidden_KD: Tensor, batch: Batch, whole: Batch, text_weight: float, with_turn: bool
    ) -> tuple[Tensor, Tensor]:
        """Of the text+image head: its loss, and that of the turn, 0 unless `with_turn`."""
        losses_N, turn_N = row_losses(
            self.text_image_head(hidden_KD[batch.text_at]), batch.text_target.clamp(min=0),
            self.config.model.z_loss, with_turn,
        )  # fmt: skip
        weights_N, all_weights = (
            torch.where(one.text_target < self.config.text.vocab_size, text_weight, 1.0)
            * one.asks_text()
            for one in (batch, whole)
        )
        loss = (losses_N * weights_N).sum() / all_weights.sum()
        if not with_turn:
            return loss, loss.new_zeros(())
        return loss, _turn_loss(turn_N, batch.opens_text(), whole.opens_text())

    def _audio_losses(
        self, hidden_KD: Tensor, batch: Batch, whole: Batch, with_turn: bool
    ) -> tuple[Tensor, Tensor]:
        """Of the audio head: its loss, and that of the turn, which the first choice of a frame
        tells, 0 unless `with_turn`."""
        codes_MQ = batch.audio_target.clamp(min=0)
        logits_MSR = self.audio_head(hidden_KD[batch.audio_at], codes_MQ)
        chosen_MS = self.audio_head.choices(codes_MQ)
        losses_K, turn_K = row_losses(
            logits_MSR.flatten(0, 1), chosen_MS.flatten(), self.config.model.z_loss, with_turn
        )
        losses_M = losses_K.view(chosen_MS.shape).sum(1)
        loss = (losses_M * batch.asks_audio()).sum() / whole.asks_audio().sum()
        if not with_turn:
            return loss, loss.new_zeros(())
        first_M = turn_K.view(chosen_MS.shape)[:, 0]
        return loss, _turn_loss(first_M, batch.opens_audio(), whole.opens_audio())


def _turn_loss(turn_N: Tensor, opens_N: Tensor, all_opens: Tensor) -> Tensor:
    """The mean over the questions that open an answer, of which this may be a share of all."""
    return (turn_N * opens_N).sum() / all_opens.sum().clamp(min=1)


def _forget_trunk(model: Omni, _: object) -> None:
    """What was loaded may be other tensors in the place of the weights (`assign=True`)."""
    model.trunk = None
