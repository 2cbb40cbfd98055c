"""A second, wholly independent recognizer: PocketSphinx with its own English acoustic model.

It chooses among the things' names, so it judges whether a word can be told from the others. It is
an optional package; where it is not installed its scores are left out.

Its acoustic model was trained on recordings and takes digital silence for something odd: with
zeros around the word it knows 75 % of the names in the assistant's voice, with faint noise 97 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr

from quintet.config import SAMPLE_RATE
from quintet.data.world.things import THINGS

RATE = 16_000  # samples a second that its acoustic model was trained at
PAD_SECONDS = 0.3  # of silence on both sides, which it expects
NOISE = 0.003  # standard deviation of the noise under everything; the loudest sample is 0.7


class WordSpotter:
    """Chooses the thing whose name sounds most like a word that was said."""

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder

    @classmethod
    def load(cls) -> WordSpotter | None:
        """The spotter, or None where the package pocketsphinx is not installed."""
        try:
            from pocketsphinx import Decoder
        except ImportError:
            return None
        decoder = Decoder(samprate=RATE, loglevel="FATAL", lm=None)
        known = [thing.name for thing in THINGS if decoder.lookup_word(thing.name)]
        grammar = f"#JSGF V1.0; grammar things; public <thing> = {' | '.join(known)};"
        decoder.add_jsgf_string("things", grammar)
        decoder.activate_search("things")
        return cls(decoder)

    def spot(self, sound: np.ndarray) -> str:
        """The name heard in `sound` (float32 [S], 24 kHz), or "" for none."""
        if not len(sound) or np.abs(sound).max() < 1e-3:
            return ""
        slower = soxr.resample(0.7 * sound / np.abs(sound).max(), SAMPLE_RATE, RATE)
        padded = np.pad(slower, round(PAD_SECONDS * RATE))
        # The same noise each time, so that what is heard does not depend on what was heard before.
        padded = padded + NOISE * np.random.default_rng(0).standard_normal(len(padded))
        samples = (32_767 * padded).clip(-32_768, 32_767).astype(np.int16)
        self.decoder.start_utt()
        self.decoder.process_raw(samples.tobytes(), full_utt=True)
        self.decoder.end_utt()
        heard = self.decoder.hyp()
        return "" if heard is None else str(heard.hypstr)
