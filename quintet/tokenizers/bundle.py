"""The three tokenizers of a model, loaded together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from quintet.config import MISFITS, OmniConfig, UserError, from_dict
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.folders import (
    AUDIO_FILE,
    CONFIG_FILE,
    IMAGE_FILE,
    TEXT_FILE,
    find,
    read_config,
)
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

    @classmethod
    def of_model(cls, name: str) -> tuple[OmniConfig, Tokenizers]:
        """Those of a model's folder, a bundled name or a hub id, with all its sizes; its
        transformer is not read.

        Raises:
            UserError: there is no such model, or its files are missing or damaged.
        """
        folder = find(name, (CONFIG_FILE, TEXT_FILE, AUDIO_FILE, IMAGE_FILE))
        config_file, values = folder / CONFIG_FILE, read_config(folder)
        if isinstance(values, dict) and "kind" in values:
            raise UserError(
                f"{name} is one tokenizer and not a whole model; name one such as nano."
            )
        try:
            config = from_dict(OmniConfig, values, str(config_file))
        except UserError:
            raise
        except MISFITS as error:
            raise UserError(
                f"{config_file} does not describe a model ({error}); "
                "restore it from where the model came from."
            ) from None
        files = (folder / name for name in (TEXT_FILE, AUDIO_FILE, IMAGE_FILE))
        return config, cls.load(config, *files)

    def fingerprint(self) -> str:
        """Tells tokenizers apart: a hash of the text's entries and of the first codebooks, as they
        lie in the folders of models."""
        digest = hashlib.sha256(self.text.model)
        for codebook in (self.audio.quantizer.layers[0].codebook, self.image.quantizer.codebook):
            digest.update(codebook.half().numpy().tobytes())
        return digest.hexdigest()[:16]

    def encode_audio(self, samples: np.ndarray) -> np.ndarray:
        """float32 [S] from a fresh state -> codes int32 [T, Q]."""
        if not len(samples):
            return np.zeros((0, self.audio.config.num_codebooks), np.int32)
        codes_BTQ, _ = self.audio.encode(torch.from_numpy(samples)[None])
        return codes_BTQ[0].numpy().astype(np.int32)

    def encode_image(self, picture: np.ndarray) -> np.ndarray:
        """uint8 [size, size, 3] -> codes int32 [G * G], row by row."""
        return self.image.encode(to_images(picture[None])).flatten().numpy().astype(np.int32)
