"""What a person said, written down by the model in turn mode, beside the live session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from quintet.config import SAMPLE_RATE, UserError
from quintet.serve.connection import ClosingError
from quintet.serve.protocol import LONGEST, samples_of
from quintet.serve.redaction import redacted
from quintet.serve.turn_mode import BusyError, TurnMode

WAITING = 4  # turns of a session that wait to be transcribed; more get none
# Seconds that an answer has the processor to itself before what was said is written down: its first
# step, with all its words, is the longest of all, and begins within these.
HEAD_START = 0.5

log = redacted(__name__)


class LastSound:
    """The last 30 s of PCM16, mono, 24 kHz, that came in, in pieces of any length."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def push(self, piece: bytes) -> None:
        self._bytes += piece
        del self._bytes[: max(0, len(self._bytes) - 2 * LONGEST * SAMPLE_RATE)]

    def last(self, seconds: float) -> np.ndarray:
        """float32 [N] of the last `seconds`, or of what there is."""
        count = min(len(self._bytes) // 2, round(seconds * SAMPLE_RATE))
        return samples_of(bytes(self._bytes[len(self._bytes) - 2 * count :]))

    def clear(self) -> None:
        self._bytes.clear()


class Transcripts:
    """Those of one session that are being made."""

    def __init__(self, turns: TurnMode) -> None:
        self.turns = turns
        self.waiting: set[asyncio.Task[None]] = set()

    def begin(
        self, sound: np.ndarray, done: Callable[[str], None], failed: Callable[[str], None]
    ) -> None:
        """Begin to write down float32 [N]; one of the two is told what came of it."""
        if len(self.waiting) >= WAITING:
            failed("Too many turns wait to be transcribed.")
        elif len(sound) > LONGEST * SAMPLE_RATE:
            failed(f"Only turns of up to {LONGEST} s are transcribed.")
        else:
            task = asyncio.create_task(self._write_down(sound, done, failed))
            self.waiting.add(task)
            task.add_done_callback(self.waiting.discard)

    def cancel(self) -> None:
        """Nobody is told any more of what is being made."""
        for task in self.waiting:
            task.cancel()

    async def _write_down(
        self, sound: np.ndarray, done: Callable[[str], None], failed: Callable[[str], None]
    ) -> None:
        try:
            await asyncio.sleep(HEAD_START)
            done(await self.turns.transcribe(sound))
        except UserError as error:
            failed(str(error))
        except BusyError:
            failed("The server is busy.")
        except ClosingError:
            pass  # the client reads too slowly, which the next step will find, too
        except Exception:  # a transcript less is no reason to end a conversation
            log.exception("A transcription failed.")
            failed("The model failed.")
