"""Many live sessions on one device, stepped together.

Each session is the same `Session` as alone. The engine drives their rounds side by side, so that
a row of all of them costs one pass through the weights, and feeds the codec all of them at once.
What one session hears never changes what another says.

Shapes: B seats, T rows of a round, D = d_model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image

from quintet.config import STEP_SAMPLES, UserError
from quintet.live.decoder import Answer, Rounds
from quintet.live.sampling import Sampling
from quintet.live.session import Inputs, Session, StepOutput, check_room
from quintet.model.cache import KVCache
from quintet.model.embedding import RowTensors
from quintet.model.omni import Omni
from quintet.timeline.rows import Rows, concatenate
from quintet.tokenizers.bundle import Tokenizers
from quintet.tokenizers.streams import decode_streams, encode_streams

Given = tuple[np.ndarray, np.ndarray | Image.Image | None, str | None]  # sound, picture, words


class Engine:
    """A number of seats, and who sits there.

    Args:
        seats: B; the memory of all of them is taken at once.
    """

    def __init__(self, model: Omni, tokenizers: Tokenizers, seats: int = 8) -> None:
        self.model, self.tokenizers = model, tokenizers
        self.cache = KVCache(model.config.model, model.config.live.max_rows, seats, model.device)
        self.sessions: dict[int, Session] = {}
        # What hearing brings. More rows of one seat (a picture, a message) go by themselves.
        self.longest_together = math.ceil(STEP_SAMPLES / model.config.audio.hop)

    def join(
        self, sampling: Sampling | None = None, seed: int = 0, speaker: np.ndarray | None = None
    ) -> int:
        """The seat of a new session; its arguments are those of `Session`.

        Raises:
            UserError: all seats are taken, or there is no room for the speaker.
        """
        free = [seat for seat in range(self.cache.batch) if seat not in self.sessions]
        if not free:
            raise UserError(
                f"All {self.cache.batch} seats are taken; wait until a session ends, or start "
                "the engine with more."
            )
        self._sit(free[0], sampling, seed, speaker)
        return free[0]

    def renew(
        self,
        seat: int,
        sampling: Sampling | None = None,
        seed: int = 0,
        speaker: np.ndarray | None = None,
    ) -> None:
        """End the session at `seat` and begin another there.

        Raises:
            UserError: there is no room for the speaker; the session goes on.
        """
        check_room(speaker, self.model.config, self.cache)
        self.leave(seat)
        self._sit(seat, sampling, seed, speaker)

    def tune(self, seat: int, sampling: Sampling) -> None:
        """Let the session at `seat` choose like this from its next step on."""
        self.sessions[seat].decoder.sampling = sampling

    def leave(self, seat: int) -> None:
        """End the session at `seat`."""
        del self.sessions[seat]
        self.cache.leave(seat)

    def _sit(
        self, seat: int, sampling: Sampling | None, seed: int, speaker: np.ndarray | None
    ) -> None:
        cache = self.cache.only(seat)
        self.sessions[seat] = Session(self.model, self.tokenizers, sampling, seed, cache, speaker)

    @torch.inference_mode()
    def step(self, given: Mapping[int, Given]) -> dict[int, StepOutput | Exception]:
        """One step of the clock for the sessions at the seats in `given`; the others stand still.

        A session whose input is wrong gets the error (UserError), takes nothing in and stands
        still too. One that fails by itself, while it reads its input, answers or makes its output,
        gets what it raised and can only leave; it is nothing to the others either.

        Where the model itself raises, the sessions in `given` have stopped in the middle of a
        step and can only leave; it is nothing to the others.
        """
        started = time.perf_counter()
        made: dict[int, StepOutput | Exception] = {}
        inputs: dict[int, Inputs] = {}
        for seat, one in given.items():
            try:
                inputs[seat] = self.sessions[seat].read(*one)
            except Exception as error:
                made[seat] = error
        answers = self._answers(inputs, made)
        sounds = self._sounds(answers)
        seconds = time.perf_counter() - started
        for seat, answer in answers.items():
            session = self.sessions[seat]
            try:
                made[seat] = session.output(inputs[seat], answer, sounds.get(seat), seconds)
            except Exception as error:
                made[seat] = error
        return made

    def _answers(
        self, inputs: dict[int, Inputs], made: dict[int, StepOutput | Exception]
    ) -> dict[int, Answer]:
        """What each session makes of its inputs, round by round; into `made`, what one raised."""
        if not inputs:
            return {}
        sessions = [self.sessions[seat] for seat in inputs]
        codes, states = encode_streams(
            self.tokenizers.audio,
            [one.sound_S for one in inputs.values()],
            [session.heard for session in sessions],
        )
        rounds: dict[int, Rounds] = {}
        for (seat, one), session, heard_TQ, state in zip(
            inputs.items(), sessions, codes, states, strict=True
        ):
            session.heard = state
            rounds[seat] = session.rounds(one, heard_TQ)
        answers: dict[int, Answer] = {}
        while rounds:
            asked: dict[int, Rows] = {}
            for seat in list(rounds):
                try:
                    asked[seat] = next(rounds[seat])
                except StopIteration as end:
                    answers[seat] = end.value
                    del rounds[seat]
                except Exception as error:
                    made[seat] = error
                    del rounds[seat]
            self._extend(asked)
        return answers

    def _extend(self, asked: dict[int, Rows]) -> None:
        """Add a round's rows, together but for long ones."""
        short = [seat for seat, rows in asked.items() if len(rows) <= self.longest_together]
        # What was recorded is for all seats, and does one of them no faster.
        together = short if len(short) > 1 or self.model.cuda_graphs else []
        for seat, rows in asked.items():
            if seat not in together:
                self.sessions[seat].decoder.extend(rows)
        if not together:
            return
        longest = max(len(asked[seat]) for seat in together)
        filler = asked[together[0]].take(slice(0, 1))
        is_row_BT = np.zeros((self.cache.batch, longest), bool)
        tables = [concatenate([filler] * longest)] * self.cache.batch
        for seat in together:
            rows = asked[seat]
            is_row_BT[seat, : len(rows)] = True
            tables[seat] = concatenate([rows, *[filler] * (longest - len(rows))])
        table = RowTensors.from_rows(tables)
        hidden_BTD = self.model(table, cache=self.cache, is_row_BT=is_row_BT)
        for seat in together:
            last = len(asked[seat]) - 1
            self.sessions[seat].decoder.hidden_1D = hidden_BTD[seat : seat + 1, last]

    def _sounds(self, answers: dict[int, Answer]) -> dict[int, torch.Tensor]:
        """The sound [S] of each session that spoke."""
        speaking = {seat: answer.frames for seat, answer in answers.items() if answer.frames}
        for seat in answers.keys() - speaking.keys():
            self.sessions[seat].voice = None
        if not speaking:
            return {}
        sounds, states = decode_streams(
            self.tokenizers.audio,
            [torch.from_numpy(np.stack(frames)).long() for frames in speaking.values()],
            [self.sessions[seat].voice for seat in speaking],
        )
        for seat, state in zip(speaking, states, strict=True):
            self.sessions[seat].voice = state
        return dict(zip(speaking, sounds, strict=True))
