"""Turn mode for the server: answers without a clock, one after another, in a thread of their own.

Live sessions keep their clock beside it: they compute in another thread. Python lets one thread
run at a time, so while they do, an answer waits between two of its rows, and between two pieces of
a sound that it reads (`give_way`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np

from quintet.live.turns import TurnReply
from quintet.serve.voices import Voiced, known_voice

WAITING = 16  # answers asked for at once, the one being computed included
TRANSCRIBE = "transcribe this."  # an order that the model knows


class TurnModel(Voiced, Protocol):
    """What turn mode needs of `quintet.live.Quintet`."""

    def chat(
        self,
        messages: Sequence[dict[str, object]],
        seed: int = 0,
        *,
        tell: Callable[[str], None] | None = None,
        pause: Callable[[], None] | None = None,
        voice: str | None = None,
    ) -> TurnReply: ...


class BusyError(Exception):
    """Too many answers are waited for."""


class TurnMode:
    """The model's turn mode, for many who ask.

    Args:
        give_way: the `pause` of `quintet.live.turns.chat`, in the thread that computes it; it may
            wait.
    """

    def __init__(self, model: TurnModel, give_way: Callable[[], None] | None = None) -> None:
        self.model, self.give_way = model, give_way
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="turns")
        self._waiting = 0

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return self._waiting > 0

    async def chat(
        self,
        messages: Sequence[dict[str, object]],
        seed: int | None = None,
        tell: Callable[[str], None] | None = None,
        voice: object = None,
    ) -> TurnReply:
        """The answer to the last of `messages`; `tell` gets words, in another thread; `voice` as
        `known_voice` has it.

        Raises:
            BusyError: too many ask.
            UserError: as `quintet.live.turns.chat`.
        """
        if self._waiting >= WAITING:
            raise BusyError
        self._waiting += 1
        try:
            seed = secrets.randbelow(2**31) if seed is None else seed
            job = partial(
                self.model.chat, messages, seed, tell=tell, pause=self.give_way,
                voice=known_voice(voice, self.model),
            )  # fmt: skip
            return await asyncio.get_running_loop().run_in_executor(self.worker, job)
        finally:
            self._waiting -= 1

    async def transcribe(self, sound: np.ndarray) -> str:
        """The words of float32 [N], as far as the model hears them; as `chat`."""
        return (await self.chat(transcript_of(sound))).text.strip()

    def close(self) -> None:
        self.worker.shutdown(wait=False, cancel_futures=True)


def transcript_of(sound: np.ndarray) -> list[dict[str, object]]:
    """The messages that ask for the words of float32 [N]."""
    return [{"role": "user", "content": [TRANSCRIBE, sound]}]
