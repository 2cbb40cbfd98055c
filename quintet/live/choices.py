"""What the two heads of a model answer at a tip: for one session in float32 on a CPU by compiled
functions, a tenth of the time; else by PyTorch. The same draws give the same answers.

Shapes: D = d_model, Q = num_codebooks, S choices of a frame, V = text_image_vocab_size.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quintet.live.sampling import Sampling, choose, is_cold, not_chosen
from quintet.model.omni import Omni

Arrays = tuple[np.ndarray, ...]


class Choices:
    """The heads of one model. By compiled functions they answer as its weights were when `follow`
    last looked.

    Args:
        known: text entries that exist; those beyond, which a tokenizer may leave free, are never
            chosen.
    """

    def __init__(self, model: Omni, known: int) -> None:
        assert known <= model.text_image_head.num_words, "more words than the head has"
        self.model, self.known = model, known
        self.fused: ModuleType | None = None  # the compiled functions, where they answer
        self._where: list[object] = []  # the weights lay when their arrays were taken
        self._words: np.ndarray = np.empty(0)
        self._sub_heads: Arrays = ()
        self._codes: Arrays = ()
        self._mixers: list[Arrays] = []

    def word(
        self, hidden_1D: Tensor, sampling: Sampling, generator: torch.Generator
    ) -> tuple[int | None, float]:
        """A text entry (None: silent), and the probability of silence."""
        temperature, top_p = sampling.text_temperature, sampling.top_p
        (uniform,) = _draws(1, temperature, generator)
        if self.fused is not None:
            token, silence = self.fused.word(
                _vector(hidden_1D), self._words, self.known, *_numbers(temperature, top_p),
                uniform,
            )  # fmt: skip
            return (None if token == self.fused.SILENT else self._number(token)), float(silence)
        logits = self.model.text_image_head.words(hidden_1D)
        logits[:, self.known : -1] = -torch.inf
        silence = logits.softmax(-1)[0, -1]
        token = int(choose(logits, temperature, top_p, uniform))
        return (None if token == logits.shape[-1] - 1 else token), float(silence)

    def image_code(self, hidden_1D: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
        """A code inside a picture."""
        temperature, top_p, head = (
            sampling.image_temperature,
            sampling.top_p,
            self.model.text_image_head,
        )
        (uniform,) = _draws(1, temperature, generator)
        if self.fused is not None:
            codes_RD = self._words[head.num_words :]
            return self._number(self.fused.entry(
                _vector(hidden_1D), codes_RD, False, *_numbers(temperature, top_p), uniform
            ))  # fmt: skip
        return int(choose(head.image_codes(hidden_1D), temperature, top_p, uniform))

    def silence_of_audio(self, hidden_1D: Tensor) -> float:
        """Probability that the audio head stays silent."""
        if self.fused is not None:
            return float(self.fused.silence(_vector(hidden_1D), self._sub_heads[0]))
        return float(self.model.audio_head.silence(hidden_1D))

    def frame(
        self, hidden_1D: Tensor, sampling: Sampling, generator: torch.Generator
    ) -> np.ndarray | None:
        """Codes of a frame, int32 [Q]; None: silent."""
        head, temperature, top_p = self.model.audio_head, sampling.audio_temperature, sampling.top_p
        uniforms = _draws(head.num_choices, temperature, generator)
        if self.fused is not None:
            numbers = _numbers(temperature, top_p)
            entries = self._entries(_vector(hidden_1D), uniforms, numbers)
            if entries is None:
                return None
            codes_1Q = head.codes_of(torch.tensor([entries]))
        else:
            left = iter(uniforms)
            codes_1Q, speaks_1 = head.sample(
                hidden_1D, lambda logits: choose(logits, temperature, top_p, next(left))
            )
            if not speaks_1:
                return None
        return codes_1Q[0].cpu().numpy().astype(np.int32)

    def _entries(
        self, hidden_D: np.ndarray, uniforms: np.ndarray, numbers: tuple[np.float32, np.float32]
    ) -> list[int] | None:
        assert self.fused is not None
        entries: list[int] = []
        state_D, summed_D = hidden_D, None
        for choice, sub_head_RD in enumerate(self._sub_heads):
            if summed_D is not None:
                state_D = np.empty_like(hidden_D)
                self.fused.mix(hidden_D, summed_D, *self._mixers[choice - 1], state_D)
            entry = self._number(
                self.fused.entry(state_D, sub_head_RD, choice == 0, *numbers, uniforms[choice])
            )
            if choice == 0 and entry == len(sub_head_RD) - 1:
                return None
            entries.append(entry)
            if choice < len(self._codes):
                embedded_D = self._codes[choice][entry]
                summed_D = embedded_D if summed_D is None else summed_D + embedded_D
        return entries

    def _number(self, entry: int) -> int:
        """An entry that was chosen at all."""
        assert self.fused is not None
        if entry == self.fused.NOT_CHOSEN:
            raise not_chosen()
        return int(entry)

    def follow(self) -> None:
        """Take the weights as they are. Whoever replaces one of them, or a whole head, tells
        nobody, so this comes before the questions of each step; it costs as much as two of them."""
        text, audio = self.model.text_image_head.weight, self.model.audio_head
        sub_heads = [head.weight for head in audio.sub_heads]
        codes = [table.weight for table in audio.codes]
        layers: list[Any] = list(audio.mixers)  # whose types a ModuleList forgets
        mixers = [
            (norm.weight, into.weight, into.bias, out.weight, out.bias)
            for norm, into, _, out in layers
        ]
        weights = [text, *sub_heads, *codes, *(weight for mixer in mixers for weight in mixer)]
        where = [(w.data_ptr(), w.shape, w.stride(), w.dtype) for w in weights]
        if where == self._where:
            return
        self._where = [*where]
        self.fused = None
        # What is compiled checks nothing.
        if all(
            w.device.type == "cpu" and w.dtype == torch.float32 and w.is_contiguous()
            for w in weights
        ):
            # Numba, which takes a second to load.
            self.fused = importlib.import_module("quintet.model.fused_heads")
            self._words, self._sub_heads = _array(text), tuple(map(_array, sub_heads))
            self._codes = tuple(map(_array, codes))
            self._mixers = [tuple(map(_array, mixer)) for mixer in mixers]


def _array(weight: Any) -> np.ndarray:
    made: np.ndarray = weight.detach().numpy()
    return made


def _vector(hidden_1D: Tensor) -> np.ndarray:
    assert hidden_1D.dtype == torch.float32, "of another precision than the heads"
    made: np.ndarray = hidden_1D.numpy()[0]
    return made


def _numbers(temperature: float, top_p: float) -> tuple[np.float32, np.float32]:
    return np.float32(0 if is_cold(temperature) else temperature), np.float32(top_p)


def _draws(count: int, temperature: float, generator: torch.Generator) -> np.ndarray:
    """Numbers in [0, 1), of which the likeliest entry needs none."""
    if is_cold(temperature):
        return np.zeros(count, np.float32)
    return torch.rand(count, generator=generator).numpy()
