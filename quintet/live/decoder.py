"""The tip loop: asks the two heads at a tip and appends the rows they give.

Both modes share it. Live mode bounds an answer by the step's budget and frames; turn mode lets
it run until `No Output`. `No Output` costs no row and never enters the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quintet.config import UserError
from quintet.live.choices import Choices
from quintet.live.sampling import NEVER, Sampling
from quintet.model.cache import KVCache
from quintet.model.embedding import RowTensors
from quintet.model.omni import Omni
from quintet.timeline.rows import Rows, make_rows, single_column
from quintet.timeline.streams import STREAMS, Modality, Stream
from quintet.tokenizers.text import TextTokenizer


@dataclass
class Answer:
    """What the model made at one tip: tokens of the text+image stream in order, then frames.

    `no_output` is the probability of `No Output` at the first question of each head.
    """

    text_image: list[tuple[Modality, int]]  # text ids, and image codes from 0
    frames: list[np.ndarray]  # [Q] each
    no_output: tuple[float, float] = (1.0, 1.0)


# Gives the rows that are to be added, and goes on when they are; ends with what it made.
Rounds = Generator[Rows, None, Answer]


class TipDecoder:
    """A growing sequence of rows with its cache, positions and sampling state.

    What it does row after row it does as `Rounds`: whoever drives them adds the rows, alone
    (`run`) or together with those of other sequences (`live.engine`).

    Args:
        text: says which text entries exist, and after which of them a picture's codes follow.
        cache: for one sequence.

    Raises:
        UserError: `sampling` is something else.
    """

    def __init__(
        self, model: Omni, text: TextTokenizer, sampling: Sampling, seed: int, cache: KVCache
    ) -> None:
        if not isinstance(sampling, Sampling):
            raise UserError(f"sampling is a Sampling, not {sampling!r}; give one, or leave it out.")
        self.model, self.text, self.sampling, self.cache = model, text, sampling, cache
        model.prepare()
        self.choices = Choices(model, text.vocab_size)
        self.generator = torch.Generator().manual_seed(seed)
        self.picture_left = 0  # codes that the picture being drawn still needs
        self._positions: dict[tuple[Modality, bool], int] = {}
        self.hidden_1D: Tensor | None = None  # at the tip: the last row

    def rows(self, stream: Stream, modality: Modality, tokens: np.ndarray, step: int) -> Rows:
        """The next rows of `tokens` [N, Q] (text and image entries of the unified vocabulary)."""
        key = (modality, STREAMS[stream].is_output)
        first = self._positions.get(key, 0)
        self._positions[key] = first + len(tokens)
        position = np.arange(first, first + len(tokens))
        return make_rows(stream, modality, tokens, position, np.asarray(step))

    def append(self, stream: Stream, modality: Modality, tokens: np.ndarray, step: int) -> None:
        """Add such rows."""
        if len(tokens):
            self.extend(self.rows(stream, modality, tokens, step))

    def read(self, rows: Rows) -> None:
        """Add rows that have their positions, such as a sample's; later ones count on from them."""
        self.extend(rows)
        for modality in Modality:
            for is_output in (False, True):
                same = (rows.modality == modality) & (rows.flag == is_output)
                if same.any():
                    self._positions[modality, is_output] = int(rows.position[same].max()) + 1

    @torch.inference_mode()
    def extend(self, rows: Rows) -> None:
        """Add rows to the cache; the last of them is the tip."""
        hidden_BTD = self.model(RowTensors.from_rows([rows]), cache=self.cache)
        self.hidden_1D = hidden_BTD[:, -1]

    def run(self, rounds: Rounds, watch: Callable[[Rows], None] | None = None) -> Answer:
        """Drive `rounds` alone; `watch` is shown the rows before they are read."""
        while True:
            try:
                rows = next(rounds)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            if watch is not None:
                watch(rows)
            self.extend(rows)

    def _entry(self, modality: Modality, token: int) -> np.ndarray:
        config = self.model.config
        offset = config.text.vocab_size if modality == Modality.IMAGE else 0
        return single_column(np.array([token + offset]), config.audio.num_codebooks)

    def answer(
        self,
        step: int,
        budget: int,
        frames: int,
        frame_step: Callable[[int], int] | None = None,
        words: Stream = Stream.TEXT_OUT,
        yield_above: float = NEVER,
    ) -> Rounds:
        """Ask both heads at the tip; at most `budget` text+image rows and `frames` frames.

        The time of all rows is `step`; in turn mode `frame_step` gives that of each frame.
        Words and pictures are rows of the stream `words`. There is no frame if, at the first
        question to the audio head, `No Output` is likelier than `yield_above`.
        """
        made, silent_text = Answer([], []), 1.0
        self.choices.follow()
        while len(made.text_image) < budget:
            chosen, silence = self._ask_text_image()
            if not made.text_image:
                silent_text = silence
            if chosen is None:
                break
            made.text_image.append(chosen)
            yield self.rows(words, chosen[0], self._entry(*chosen), step)
        silent_audio = self.choices.silence_of_audio(self._tip())
        if silent_audio > yield_above:
            frames = 0
        while len(made.frames) < frames:
            frame = self.choices.frame(self._tip(), self.sampling, self.generator)
            if frame is None:
                break
            time = frame_step(len(made.frames)) if frame_step else step
            made.frames.append(frame)
            yield self.rows(Stream.AUDIO_OUT, Modality.AUDIO, frame[None], time)
        made.no_output = (silent_text, silent_audio)
        return made

    def _tip(self) -> Tensor:
        assert self.hidden_1D is not None, "a tip needs a row"
        return self.hidden_1D

    def _ask_text_image(self) -> tuple[tuple[Modality, int] | None, float]:
        """A text entry or image code (None: silent), and the probability of silence.

        A picture, once begun, is finished: inside it only image codes are allowed, outside it
        none are.
        """
        asked = (self._tip(), self.sampling, self.generator)
        if self.picture_left:
            self.picture_left -= 1
            return (Modality.IMAGE, self.choices.image_code(*asked)), 0.0
        token, silence = self.choices.word(*asked)
        if token is None:
            return None, silence
        if token == self.text.image_id:
            self.picture_left = self.model.config.image.num_tokens
        return (Modality.TEXT, token), silence
