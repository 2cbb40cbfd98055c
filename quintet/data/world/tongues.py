"""Speech as varied as espeak-ng can make it: its languages, its voices, any pitch and speed.

A codec should carry voices and sounds that the world of everyday things does not have. What is
said matters little: sentences of the world, numbers (which espeak-ng reads in every language) and
invented words, which each language pronounces in its own way.
"""

from __future__ import annotations

import numpy as np
import soxr

from quintet.data.world.grammar import KINDS, request
from quintet.data.world.speech_bank import world_line
from quintet.media.speech import ACCENTS, THROATS, Voice, synthesize

WORLD_SHARE = 0.4  # of the lines: the world's own, in the world's own voices
ENGLISH_SHARE = 0.6  # of the others
STRETCH = 1.2  # most that a line is made higher and quicker, or lower and slower: other throats
LANGUAGES = (
    "af", "am", "ar", "bg", "bn", "ca", "cmn", "cs", "cy", "da", "de", "el", "eo", "es", "es-419",
    "et", "eu", "fa", "fi", "fr-be", "fr-ch", "fr-fr", "ga", "gd", "gu", "he", "hi", "hr", "hu",
    "hy", "id", "is", "it", "ja", "ka", "kk", "kn", "ko", "la", "lt", "lv", "mi", "mk", "ml", "mr",
    "ms", "mt", "my", "ne", "nl", "or", "pa", "pl", "pt", "pt-br", "ro", "ru", "si", "sk", "sl",
    "sq", "sr", "sv", "sw", "ta", "te", "tn", "tr", "tt", "uk", "ur", "uz", "vi", "yue",
)  # fmt: skip
SYLLABLES = (
    "ba", "be", "bi", "bo", "bu", "da", "de", "di", "do", "du", "fa", "fe", "fi", "fo", "ga", "go",
    "ha", "he", "ho", "ja", "jo", "ka", "ke", "ki", "ko", "la", "le", "li", "lo", "lu", "ma", "me",
    "mi", "mo", "mu", "na", "ne", "ni", "no", "pa", "pe", "pi", "po", "ra", "re", "ri", "ro", "ru",
    "sa", "se", "si", "so", "sta", "str", "ta", "te", "ti", "to", "tu", "va", "ve", "vi", "za",
    "ze", "zo", "ash", "eng", "ist", "ong", "und", "er", "al",
)  # fmt: skip


def any_line(rng: np.random.Generator, split: str) -> np.ndarray:
    """A line in any language and voice that is not kept for tests: float32 [samples] at 24 kHz.

    The split "test" is the world's: voices that training never has.
    """
    if split == "test" or rng.random() < WORLD_SHARE:
        return world_line(rng, split)
    names = ACCENTS if rng.random() < ENGLISH_SHARE else LANGUAGES
    voice = Voice(
        f"{rng.choice(names)}+{rng.choice(THROATS)}",
        int(rng.integers(120, 211)),
        int(rng.integers(20, 81)),
    )
    speech = synthesize(_text(rng), voice)
    if not len(speech):
        return speech
    factor = float(np.exp(rng.uniform(-np.log(STRETCH), np.log(STRETCH))))
    return np.clip(soxr.resample(speech, factor, 1.0), -1, 1).astype(np.float32)


def _text(rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.4:
        return request(str(rng.choice(KINDS)), rng).text
    if kind < 0.6:
        digits = rng.integers(1, 7, rng.integers(2, 5))
        return ", ".join(str(int(rng.integers(10**d))) for d in digits) + "."
    words = ["".join(rng.choice(SYLLABLES, rng.integers(1, 4))) for _ in range(rng.integers(4, 9))]
    return " ".join(words) + str(rng.choice([".", "?", "!", ","]))
