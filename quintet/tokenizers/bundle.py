"""The three tokenizers of a model, loaded together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from quintet.config import OmniConfig, UserError
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.image import ImageTokenizer, to_images
from quintet.tokenizers.text import TextTokenizer
from quintet.tokenizers.weight_files import load_weights


@dataclass(frozen=True)
class Tokenizers:
    """Text, audio and image, ready for use: evaluation mode, weight normalization folded."""

    text: TextTokenizer
    audio: AudioTokenizer
    image: ImageTokenizer

    @classmethod
    def load(cls, config: OmniConfig, text: Path, audio: Path, image: Path) -> Tokenizers:
        """Read the three files; each of the paths may lie in a different stage's folder.

        Raises:
            UserError: a file is missing, damaged, or does not fit `config`.
        """
        audio_tokenizer = AudioTokenizer(config.audio).fold().eval()
        load_weights(audio_tokenizer, audio)
        image_tokenizer = ImageTokenizer(config.image).eval()
        load_weights(image_tokenizer, image)
        text_tokenizer = TextTokenizer.load(text)
        if text_tokenizer.vocab_size > config.text.vocab_size:
            raise UserError(
                f"{text} has {text_tokenizer.vocab_size:,} entries and the model has room for "
                f"{config.text.vocab_size:,}; use the file that came with the model."
            )
        return cls(text_tokenizer, audio_tokenizer, image_tokenizer)

    def encode_audio(self, samples: np.ndarray) -> np.ndarray:
        """float32 [S] from a fresh state -> codes int32 [T, Q]."""
        if not len(samples):
            return np.zeros((0, self.audio.config.num_codebooks), np.int32)
        codes_BTQ, _ = self.audio.encode(torch.from_numpy(samples)[None])
        return codes_BTQ[0].numpy().astype(np.int32)

    def encode_image(self, picture: np.ndarray) -> np.ndarray:
        """uint8 [size, size, 3] -> codes int32 [G * G], row by row."""
        return self.image.encode(to_images(picture[None])).flatten().numpy().astype(np.int32)
