"""A speech recognizer that judges what the model says.

It was trained on real speech of the world's voices alone, half of it words in random order, and
never on anything that a codec or the model made. It spells what it hears, letter by letter, with
connectionist temporal classification (Graves et al. 2006) and no language model.

Shapes: B batch, S samples, M mel bins, T spectrogram frames of 10 ms, L letter frames of 40 ms,
C channels.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from quintet.config import SAMPLE_RATE
from quintet.tokenizers.weight_files import load_weights
from quintet.train.spectral import LogMel

LETTERS = " abcdefghijklmnopqrstuvwxyz'"  # entry 0 of the output is the blank
BLANK = 0
MEL_BINS, WINDOW, HOP = 64, 768, SAMPLE_RATE // 100
STRIDE = 4  # spectrogram frames to one letter frame
SILENCE = SAMPLE_RATE // 10  # samples put around what is heard: a cut edge sounds like a letter
DROPOUT = 0.1
MASKS, MASKED_BINS = 2, 12  # bands hidden in training, and bins of the widest (Park et al. 2019)
WEIGHTS = Path(__file__).parent / "judges" / "recognizer.safetensors"


def spell(text: str) -> str:
    """`text` in the letters that the recognizer knows: lower case, words and single spaces."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))


class Recognizer(nn.Module):
    """Sound [B, S] -> log-probabilities [B, L, letters + 1]."""

    def __init__(self, channels: int = 144) -> None:
        super().__init__()
        self.spectrogram = LogMel(WINDOW, MEL_BINS, HOP)
        self.convolutions = nn.Sequential(
            nn.Conv1d(MEL_BINS, channels, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv1d(channels, channels, 5, stride=2, padding=2),
            nn.GELU(),
        )
        self.recurrent = nn.GRU(
            channels, channels, 2, batch_first=True, bidirectional=True, dropout=DROPOUT
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.letters = nn.Linear(2 * channels, len(LETTERS) + 1)

    def forward(self, sound_BS: Tensor) -> Tensor:
        loudest = sound_BS.abs().amax(-1, keepdim=True).clamp(min=0.02)
        mel_BMT = self.spectrogram(sound_BS / loudest)
        mel_BMT = (mel_BMT + 5) / 2
        if self.training:
            mel_BMT = mel_BMT * _bands(len(mel_BMT))
        hidden_BLC = self.convolutions(mel_BMT).transpose(1, 2)
        hidden_BLC, _ = self.recurrent(self.dropout(hidden_BLC))
        return self.letters(self.dropout(hidden_BLC)).float().log_softmax(-1)

    @torch.no_grad()
    def transcribe(self, sound: np.ndarray) -> str:
        """What `sound` (float32 [S], 24 kHz) says: the likeliest letter of every frame."""
        if len(sound) < WINDOW or np.abs(sound).max() < 1e-3:
            return ""
        padded_S = np.pad(sound, SILENCE).astype(np.float32)
        best = self(torch.from_numpy(padded_S)[None])[0].argmax(-1)
        kept = torch.unique_consecutive(best).tolist()
        return spell("".join(LETTERS[entry - 1] for entry in kept if entry != BLANK))

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Recognizer:
        """The trained recognizer that comes with the package."""
        recognizer = cls()
        load_weights(recognizer, path)
        return recognizer.eval()


def _bands(batch: int) -> Tensor:
    """[B, M, 1]: 0 in the bands to hide, elsewhere 1, so that no voice is known by one band."""
    first_BK1 = torch.randint(0, MEL_BINS, (batch, MASKS, 1))
    width_BK1 = torch.randint(0, MASKED_BINS + 1, (batch, MASKS, 1))
    bin_M = torch.arange(MEL_BINS)
    hidden_BKM = (bin_M >= first_BK1) & (bin_M < first_BK1 + width_BK1)
    return (~hidden_BKM.any(1)).float()[..., None]


def word_errors(expected: str, heard: str) -> tuple[int, int]:
    """Least insertions, deletions and substitutions of words, and the words expected."""
    truth, guess = spell(expected).split(), spell(heard).split()
    row = list(range(len(guess) + 1))
    for i, word in enumerate(truth, 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(guess, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (word != other))
    return row[-1], len(truth)
