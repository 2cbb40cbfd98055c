"""Engines that speak: espeak-ng, Piper, Kokoro, or a voice behind an HTTP endpoint.

Each is an `Engine`: a text and a voice of its own give sound at 24 kHz, and where each word is, or
no words where the engine does not tell. Piper and Kokoro are packages that are imported when they
first speak.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr

from quintet.config import SAMPLE_RATE, UserError
from quintet.media.audio import read_audio_bytes
from quintet.media.endpoint import Endpoint
from quintet.media.speech import Voice, Word, say

Spoken = tuple[np.ndarray, tuple[Word, ...]]  # float32 [S] at 24 kHz; its words, or none
LONGEST = 120.0  # seconds that one line may last
QUIET = 1e-3  # what is fainter at both ends is cut away
USUAL_SPEED = 160  # words a minute: the speed that engines call 1
KOKORO_LANGUAGES = {
    "en-us": "a", "en-gb": "b", "es": "e", "fr-fr": "f", "hi": "h", "it": "i", "ja": "j",
    "pt": "p", "pt-br": "p", "cmn": "z",
}  # fmt: skip


class Engine(Protocol):
    """Speaks."""

    def say(self, text: str, voice: Voice, language: str = "en-us") -> Spoken:
        """`text` in a voice and a language (espeak-ng's code of it).

        Raises:
            UserError: the engine is missing, or has no such voice.
        """
        ...


class Espeak:
    """The engine of the synthetic world: offline, deterministic, with words exact to the sample.

    A voice such as "en-us+f3" keeps its variant, which is its throat, in other languages."""

    def say(self, text: str, voice: Voice, language: str = "en-us") -> Spoken:
        _, plus, variant = voice.name.partition("+")
        if language != "en-us":
            voice = Voice(language + plus + variant, voice.speed, voice.pitch)
        return say(text, voice)


class Piper:
    """Voices of Piper: each a file `NAME.onnx` of `folder`, with its `.json` beside it.

    Nothing in it is left to chance, so that the same text is always the same sound.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._voices: dict[str, Any] = {}

    def say(self, text: str, voice: Voice, language: str = "en-us") -> Spoken:
        piper = _optional("piper", "piper-tts", "Piper")
        path = self.folder / f"{voice.name}.onnx"
        if Path(voice.name).name != voice.name or not path.is_file():
            raise UserError(
                f"{self.folder} holds no Piper voice {voice.name!r}; download it there."
            )
        if voice.name not in self._voices:
            self._voices[voice.name] = piper.PiperVoice.load(str(path))
        settings = piper.SynthesisConfig(
            length_scale=USUAL_SPEED / voice.speed, noise_scale=0.0, noise_w_scale=0.0
        )
        chunks = list(self._voices[voice.name].synthesize(text, syn_config=settings))
        if not chunks:
            return np.zeros(0, np.float32), ()
        sound = np.concatenate([chunk.audio_float_array for chunk in chunks])
        return _trimmed(soxr.resample(sound, chunks[0].sample_rate, SAMPLE_RATE))[0], ()


class Kokoro:
    """Voices of Kokoro, such as "af_heart", with the times of their words in English."""

    def __init__(self) -> None:
        self._pipelines: dict[str, Any] = {}

    def say(self, text: str, voice: Voice, language: str = "en-us") -> Spoken:
        kokoro = _optional("kokoro", "kokoro", "Kokoro")
        code = KOKORO_LANGUAGES.get(language)
        if code is None:
            raise UserError(f"Kokoro does not speak {language!r}; choose espeak-ng for it.")
        if code not in self._pipelines:
            self._pipelines[code] = kokoro.KPipeline(lang_code=code)
        sounds, words, samples = [], list[Word](), 0
        told = True
        for part in self._pipelines[code](text, voice=voice.name, speed=voice.speed / USUAL_SPEED):
            sound = np.asarray(part.audio, np.float32).reshape(-1)
            tokens = list(getattr(part, "tokens", None) or ())
            told &= bool(tokens)
            words += _token_words(tokens, samples)
            sounds.append(sound)
            samples += len(sound)
        whole, first = _trimmed(np.concatenate(sounds) if sounds else np.zeros(0, np.float32))
        placed = tuple(_within(word.later(-first), len(whole)) for word in words)
        same = " ".join(word.text for word in placed) == " ".join(text.split())
        return whole, placed if told and same else ()


class EndpointVoice:
    """Voices behind an OpenAI-compatible endpoint: `model` is asked at /audio/speech for WAV."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self.endpoint, self.model = endpoint, model

    def say(self, text: str, voice: Voice, language: str = "en-us") -> Spoken:
        asked = {
            "model": self.model, "input": text, "voice": voice.name, "response_format": "wav",
            "speed": round(voice.speed / USUAL_SPEED, 3),
        }  # fmt: skip
        content = self.endpoint.post("audio/speech", asked)
        sound = read_audio_bytes(content, LONGEST, f"What {self.endpoint.url} said")
        return _trimmed(sound)[0], ()


def _optional(module: str, package: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"{name} is not installed; install it (pip install {package}), or choose espeak-ng."
        ) from None


def _token_words(tokens: list[Any], start: int) -> list[Word]:
    """Tokens with times -> words as they are written: a mark belongs to the word before it."""
    words: list[Word] = []
    joined = False
    for token in tokens:
        first, last = (getattr(token, name, None) for name in ("start_ts", "end_ts"))
        if joined and words:
            before = words[-1]
            end = before.end if last is None else start + round(last * SAMPLE_RATE)
            words[-1] = Word(before.text + token.text, before.start, max(before.end, end))
        elif first is not None and last is not None:
            times = (start + round(time * SAMPLE_RATE) for time in (first, last))
            words.append(Word(token.text, *times))
        joined = not token.whitespace
    return words


def _within(word: Word, length: int) -> Word:
    return Word(word.text, min(max(word.start, 0), length), min(max(word.end, 0), length))


def _trimmed(sound: np.ndarray) -> tuple[np.ndarray, int]:
    """Sound without the quiet at its ends, in [-1, 1]; how many samples went at its beginning.

    Raises:
        UserError: it lasts too long.
    """
    if len(sound) > LONGEST * SAMPLE_RATE:
        raise UserError(f"A line lasts more than {LONGEST:g} seconds; shorten it.")
    loud = np.flatnonzero(np.abs(sound) > QUIET)
    if not len(loud):
        return np.zeros(0, np.float32), 0
    kept = np.clip(sound[loud[0] : loud[-1] + 1], -1, 1).astype(np.float32)
    return kept, int(loud[0])
