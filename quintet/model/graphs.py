"""Rows of sessions on a GPU, as CUDA graphs: there a row costs what it takes to start some hundreds
of kernels one by one, and a graph starts all of them at once.

A graph has one shape and reads and writes fixed memory. Its slots are therefore a power of two that
holds those in use, so that a session grows through a few shapes and never needs another one; each
is recorded when it first comes. More than a few rows of a session at once (a picture, a message)
are many kernels' worth by themselves and go without.

Shapes: B sessions, T new rows, S slots, G key-value heads, H query heads of each, R = H * T,
E head width, D = d_model, Q = num_codebooks, C columns of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from quintet.model.cache import KVCache, Place
from quintet.model.embedding import RowTensors

if TYPE_CHECKING:
    from quintet.model.omni import Omni

FEW = 4  # rows of a session
LEAST = 256  # slots
Made = TypeVar("Made")


@dataclass(frozen=True)
class _Recorded:
    columns_BTC: Tensor  # int64: what is known of each row, and where it is kept
    mask_B1TS: Tensor
    hidden_BTD: Tensor
    replay: Callable[[], None]


class Graphs:
    """Of one model and one cache, whose memory they name."""

    def __init__(self, model: Omni, cache: KVCache) -> None:
        assert model.trunk is not None
        self.model, self.cache, self.trunk = model, cache, model.trunk
        self.recorded: dict[tuple[int, int], _Recorded] = {}

    @torch.inference_mode()
    def extend(self, rows: RowTensors, place: Place) -> Tensor:
        """Hidden vectors [B, T, D] of new rows, whose keys and values are written at `place`."""
        length, seen = rows.step.shape[1], self._slots()
        columns_BTC, mask_B1TS = self._columns(rows, place), self.cache.sight(place, seen)
        known = self.recorded.get((length, seen))
        if known is None:
            known = self._record(columns_BTC.to(self.cache.device), mask_B1TS, seen)
            self.recorded[length, seen] = known
        else:
            known.columns_BTC.copy_(columns_BTC)
            known.mask_B1TS.copy_(mask_B1TS)
        known.replay()
        return known.hidden_BTD.clone()

    def _slots(self) -> int:
        power = 1 << (self.cache.seen - 1).bit_length()
        return min(max(LEAST, power), self.cache.max_rows)

    def _columns(self, rows: RowTensors, place: Place) -> Tensor:
        batch, length = rows.step.shape
        storage = self.cache.storage(place, "cpu").view(batch, length, -1)
        single = (rows.is_audio, rows.position, rows.step, rows.flag)
        columns = [column.cpu().long()[..., None] for column in single]
        order_BT1 = torch.from_numpy(place.order_BT)[..., None]
        return torch.cat([*columns, order_BT1, rows.tokens.cpu(), storage], dim=-1)

    def _record(self, columns_BTC: Tensor, mask_B1TS: Tensor, seen: int) -> _Recorded:
        mask_B1TS = mask_B1TS.to(self.cache.device)

        def run() -> Tensor:
            return self._hidden(columns_BTC, mask_B1TS, seen)

        return _Recorded(columns_BTC, mask_B1TS, *capture(run))

    def _hidden(self, columns_BTC: Tensor, mask_B1TS: Tensor, seen: int) -> Tensor:
        num_codebooks = self.model.config.audio.num_codebooks
        is_audio, position, step, flag, order = columns_BTC[..., :5].unbind(-1)
        tokens_BTQ, storage_BTG = columns_BTC[..., 5:].tensor_split([num_codebooks], dim=-1)
        rows = RowTensors(tokens_BTQ, is_audio > 0, position, step, flag.float(), order)
        x_BTD, turned = self.model.embedding(rows), self.model.turns(order, step)

        def attend(q_BTGHE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor) -> Tensor:
            return attend_in_groups(q_BTGHE, k_BGSE, v_BGSE, mask_B1TS)

        return self.trunk.run(x_BTD, self.cache, storage_BTG.reshape(-1), seen, turned, attend)


def capture(run: Callable[[], Made], pool: Any = None) -> tuple[Made, Callable[[], None]]:
    """What `run` gives, and what makes it anew there, from what now lies where `run` reads.

    Args:
        pool: memory that graphs share of which one runs at a time.
    """
    # Once without being recorded, beside what else the GPU does: libraries take their memory. It
    # writes what the first replay writes again.
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        run()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as that which makes batches, go on meanwhile.
    with torch.cuda.graph(graph, pool, capture_error_mode="thread_local"):
        made = run()
    return made, graph.replay


def attend_in_groups(q_BTGHE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor, mask_B1TS: Tensor) -> Tensor:
    """[B, T, D]. The heads of a group are rows of one product, so that keys are not copied for
    each; a row that sees nothing, which is nobody's, gives no NaN."""
    *_, heads, width = q_BTGHE.shape
    q_BGRE = q_BTGHE.permute(0, 2, 3, 1, 4).flatten(2, 3) * width**-0.5
    scores_BGHTS = (q_BGRE @ k_BGSE.transpose(-1, -2)).unflatten(2, (heads, -1))
    hidden_B11TS = ~mask_B1TS[:, :, None]
    least = torch.finfo(scores_BGHTS.dtype).min
    weights_BGRS = scores_BGHTS.masked_fill(hidden_B11TS, least).softmax(-1).flatten(2, 3)
    y_BGHTE = (weights_BGRS @ v_BGSE).unflatten(2, (heads, -1))
    return y_BGHTE.permute(0, 3, 1, 2, 4).flatten(2)
