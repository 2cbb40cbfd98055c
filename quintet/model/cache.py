"""The key-value cache: slots of a fixed number, for one session or for many side by side.

Order is in the embedding or in the keys, so attention does not care where a row lies. A new row
takes the lowest free slot, and a step that leaves the window frees its own: nothing moves and
nothing grows, and a session of hours costs what a full window costs.

Shapes: B sessions, T new rows of each, C slots, S slots in use, P of them the system prompt's,
G key-value heads, E head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from quintet.config import ModelConfig
from quintet.model.rotary import turn, turns

if TYPE_CHECKING:
    from quintet.model.graphs import Graphs

FREE = -1


@dataclass(frozen=True)
class Place:
    """Where new rows lie, and which row of its session each is."""

    slots_BT: np.ndarray  # int64; C, which is nobody's, where a session has no row
    order_BT: np.ndarray  # int64; -1 where it has none
    is_alone: bool  # the new rows are all there is, in order


@dataclass(frozen=True)
class Prompt:
    """The system prompt of one session, as it was read; no row of it ever leaves or moves."""

    slots_P: Tensor  # int64
    keys: Tensor  # [layers, G, P, E]
    last: int  # order of its last row


class KVCache:
    """What sessions remember: keys and values of every layer, and the step of each row.

    Args:
        max_rows: C, of each session, the system prompt included.
    """

    def __init__(
        self,
        config: ModelConfig,
        max_rows: int,
        batch: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.max_rows, self.batch = max_rows, batch
        # One slot more for rows that are nobody's. Heads before slots: products run over both.
        shape = (batch, config.num_kv_heads, max_rows + 1, config.head_width)
        self.keys = torch.zeros(config.num_layers, *shape, device=device, dtype=dtype)
        self.values = torch.zeros_like(self.keys)
        self.order = np.full((batch, max_rows), FREE, np.int64)  # of each session's rows: 0, 1, ...
        self.steps = np.zeros((batch, max_rows), np.int64)
        self.count = np.zeros(batch, np.int64)  # rows that a session ever had
        self.prompt: Prompt | None = None  # once it has been moved
        self.graphs: Graphs | None = None  # on a GPU, once rows have come

    @property
    def device(self) -> torch.device:
        return self.keys.device

    @property
    def seen(self) -> int:
        """S: the first so many slots hold every row of every session."""
        used = np.flatnonzero((self.order != FREE).any(0))
        return int(used[-1]) + 1 if len(used) else 0

    def only(self, session: int) -> KVCache:
        """One session's part, as a cache of its own in the same storage."""
        part: KVCache = object.__new__(KVCache)
        part.max_rows, part.batch = self.max_rows, 1
        mine = slice(session, session + 1)
        part.keys, part.values = self.keys[:, mine], self.values[:, mine]
        part.order, part.steps = self.order[mine], self.steps[mine]
        part.count, part.prompt, part.graphs = self.count[mine], None, None
        return part

    @property
    def length(self) -> int:
        """Rows held, of the session that holds most."""
        return int((self.order != FREE).sum(1).max())

    def held(self, session: int = 0) -> np.ndarray:
        """Steps of the rows that a session holds, in their order."""
        slots = np.flatnonzero(self.order[session] != FREE)
        steps: np.ndarray = self.steps[session, slots[np.argsort(self.order[session, slots])]]
        return steps

    def place(self, steps_BT: np.ndarray, is_row_BT: np.ndarray | None = None) -> Place:
        """Take slots for new rows of these steps; where `is_row_BT` is False there is none."""
        assert len(steps_BT) == self.batch, f"{len(steps_BT)} sessions for {self.batch}"
        before = self.seen
        alone = not before and is_row_BT is None
        new_BT = np.ones(steps_BT.shape, bool) if is_row_BT is None else is_row_BT
        counts_B = new_BT.sum(1)
        reach = min(before + steps_BT.shape[1], self.max_rows)
        free_BS = self.order[:, :reach] == FREE
        # Of each session in turn, the lowest first: as the new rows stand in `new_BT`.
        session_N, slot_N = np.nonzero(free_BS & (free_BS.cumsum(1) <= counts_B[:, None]))
        assert len(slot_N) == counts_B.sum(), "the key-value cache is full"
        slots_BT = np.full(steps_BT.shape, self.max_rows, np.int64)
        slots_BT[new_BT] = slot_N
        order_BT = np.where(new_BT, self.count[:, None] + new_BT.cumsum(1) - 1, FREE)
        self.order[session_N, slot_N] = order_BT[new_BT]
        self.steps[session_N, slot_N] = steps_BT[new_BT]
        self.count += counts_B
        return Place(slots_BT, order_BT, alone)

    def mask(self, place: Place) -> Tensor | None:
        """bool [B, 1, T, S]: each new row sees its session's rows up to itself; None where all of
        them see all that is held."""
        mask_B1TS = self.sight(place, self.seen)
        return None if mask_B1TS.all() else mask_B1TS.to(self.device)

    def sight(self, place: Place, slots: int) -> Tensor:
        """The same over so many slots, on the CPU."""
        order_B1S = self.order[:, None, :slots]
        mask_BTS = (order_B1S != FREE) & (order_B1S <= place.order_BT[..., None])
        return torch.from_numpy(mask_BTS[:, None])

    def storage(self, place: Place, device: torch.device | str | None = None) -> Tensor:
        """int64 [B * T * G]: where the new rows lie in a layer's storage, head after head."""
        heads_B1G = np.arange(self.batch * self.keys.shape[2]).reshape(self.batch, 1, -1)
        storage_BTG = place.slots_BT[..., None] + (self.max_rows + 1) * heads_B1G
        return torch.from_numpy(storage_BTG.reshape(-1)).to(device or self.device)

    def write(self, layer: int, k_BTGE: Tensor, v_BTGE: Tensor, storage_N: Tensor) -> None:
        """Keys and values of new rows."""
        for store, new in ((self.keys[layer], k_BTGE), (self.values[layer], v_BTGE)):
            rows_NE = new.flatten(0, 2).to(store.dtype)
            store.flatten(0, 2).index_copy_(0, storage_N, rows_NE)

    def read(self, layer: int, seen: int) -> tuple[Tensor, Tensor]:
        """Keys and values [B, G, S, E], where they lie."""
        return self.keys[layer, :, :, :seen], self.values[layer, :, :, :seen]

    def slide(self, first_step: int, session: int = 0) -> None:
        """Forget a session's rows of steps before `first_step`, but not the system prompt, whose
        steps lie before 0."""
        old = (self.steps[session] < first_step) & (self.steps[session] >= 0)
        self.order[session, old] = FREE

    def make_room(self, rows: int, session: int = 0) -> None:
        """Forget whole steps, the oldest first, until `rows` more fit.

        The window of a session is as many steps as the cache has room for: a live camera fills
        it long before its time is over.
        """
        used = self.order[session] != FREE
        excess = int(used.sum()) + rows - self.max_rows
        if excess <= 0:
            return
        steps = np.sort(self.steps[session, used & (self.steps[session] >= 0)])
        assert excess <= len(steps), "one step must fit into the cache"
        self.slide(int(steps[excess - 1]) + 1, session)

    @torch.inference_mode()
    def carry_prompt(self) -> None:
        """Let the system prompt of the one session lie right before the oldest row that is held.

        For keys that are turned by place and time (`model.rotary`): they tell how far back the
        prompt lies, which in a session of hours would be further than any training. Turned on as
        a whole they are, to the last layer, those of a prompt that was read there: it sees itself
        alone, and within it nothing moves.
        """
        held, lives = self.order[0] != FREE, self.steps[0] >= 0
        if self.prompt is None:
            last = int(self.order[0, held & ~lives].max(initial=FREE))
        else:
            last = self.prompt.last
        others = held & lives
        if last == FREE or not others.any():
            return
        places = int(self.order[0, others].min()) - last - 1
        steps = int(self.steps[0, others].min())
        if not places and not steps:
            return
        if self.prompt is None:
            slots_P = torch.from_numpy(np.flatnonzero(held & ~lives)).to(self.device)
            self.prompt = Prompt(slots_P, self.keys[:, 0].index_select(2, slots_P), last)
        place_11 = torch.tensor([[places]], device=self.device)
        step_11 = torch.tensor([[steps]], device=self.device)
        angles = turns(place_11, step_11, self.keys.shape[-1])
        turned = turn(self.prompt.keys.flatten(0, 2)[None, None], angles)
        self.keys[:, 0].index_copy_(2, self.prompt.slots_P, turned.view_as(self.prompt.keys))

    @torch.inference_mode()
    def leave(self, session: int) -> None:
        """Forget a session; its place in the batch is free for another.

        Numbers too: a NaN would reach who comes next even from a slot that nobody sees.
        """
        self.order[session], self.count[session] = FREE, 0
        self.keys[:, session] = 0
        self.values[:, session] = 0
