"""A person's documents -> samples of two kinds, and a report of what became of every part.

- "pretrain": text and pictures in the order in which they stand, next-row prediction, no sound;
- "audio": speech that is found in the sound, one segment a sample, time = audio position.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, STEPS_PER_SECOND, OmniConfig, UserError
from quintet.data.sources.document import Blob, Document, Picture, Sound
from quintet.data.turn_rows import TURN_TIME, add_picture, add_speech
from quintet.media.audio import open_audio_in
from quintet.media.images import MAX_BYTES, fit_image, read_image_bytes
from quintet.media.voice_activity import VoiceActivity
from quintet.timeline.streams import Stream
from quintet.timeline.targets import Sample, Vocabulary, next_row_sample
from quintet.timeline.timeline import Timeline
from quintet.tokenizers.bundle import Tokenizers

KINDS = ("pretrain", "audio")
LONGEST_SPEECH = 30.0  # seconds of one sample, if its rows allow that
MAX_SECONDS = 24 * 3_600.0  # of a recording
LEAST_ROWS = 2  # of a sample: one to predict from, one to predict


@dataclass
class Report:
    """What became of documents; reports of parts add up to that of the whole."""

    documents: int = 0
    characters: int = 0
    pictures: int = 0
    missing_pictures: int = 0  # known by an address or a name that leads nowhere
    sounds: int = 0
    heard_seconds: float = 0.0
    speech_seconds: float = 0.0
    samples: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    skipped: list[dict[str, str]] = field(default_factory=list)  # name and why

    def skip(self, name: str, why: str) -> None:
        self.skipped.append({"name": name, "why": why})

    def add(self, other: Report) -> None:
        for name, value in asdict(other).items():
            mine = getattr(self, name)
            if isinstance(value, dict):
                setattr(self, name, {kind: mine[kind] + value[kind] for kind in mine})
            else:
                setattr(self, name, mine + value)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class RowMaker:
    """Makes samples of documents; every document is a pure function of its bytes.

    Args:
        most_rows: of a sample; what is longer becomes several.
        kinds: those to make, of `KINDS`.

    Raises:
        UserError: a picture has more rows than that; or what finds speech is not installed.
    """

    def __init__(
        self, config: OmniConfig, tokenizers: Tokenizers, most_rows: int, kinds: tuple[str, ...]
    ) -> None:
        self.config, self.tokenizers, self.most_rows = config, tokenizers, most_rows
        self.vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
        check_rows(config, most_rows)
        self.kinds = kinds
        self.activity = VoiceActivity() if "audio" in kinds else None
        seconds = int(most_rows / config.audio.frames_per_step) / STEPS_PER_SECOND
        self.longest_speech = min(LONGEST_SPEECH, seconds)

    def samples(self, document: Document, report: Report) -> Iterator[tuple[str, Sample]]:
        """(kind, sample) of a document. Parts that cannot be read are named in `report` and
        left out."""
        report.missing_pictures += document.missing_pictures
        if "pretrain" in self.kinds:
            for sample in self._interleaved(document, report):
                yield "pretrain", sample
        for part in document.parts:
            if self.activity is not None and isinstance(part, Sound):
                try:
                    for sample in self._spoken(self.activity, part.blob, report):
                        yield "audio", sample
                except UserError as error:  # what came before the damage is kept
                    report.skip(part.blob.name, str(error))

    def _interleaved(self, document: Document, report: Report) -> Iterator[Sample]:
        """Text and pictures in turn. Text is cut anywhere, pictures nowhere; nothing is lost."""
        text, timeline, room = self.tokenizers.text, self._timeline(), self.most_rows
        for part in document.parts:
            if isinstance(part, str):
                try:
                    ids = [*text.encode(part), text.end_id]
                except UserError as error:
                    report.skip(document.name, str(error))
                    continue
                report.characters += len(part)
                done = 0  # a place in them: what is left of a long text is copied for no sample
                while done < len(ids):
                    if not room:
                        yield from self._sample(timeline)
                        timeline, room = self._timeline(), self.most_rows
                    piece = ids[done : done + room]
                    timeline.add_text(Stream.TEXT_IN, piece, TURN_TIME)
                    done, room = done + len(piece), room - len(piece)
            elif isinstance(part, Picture):
                codes = self._picture_codes(part.blob, report)
                if codes is None:
                    continue
                if len(codes) + 1 > room:
                    yield from self._sample(timeline)
                    timeline, room = self._timeline(), self.most_rows
                add_picture(timeline, codes, text.image_id)
                room -= len(codes) + 1
        if room < self.most_rows:
            yield from self._sample(timeline)

    def _timeline(self) -> Timeline:
        return Timeline(self.config.audio.num_codebooks, self.config.text.vocab_size)

    def _sample(self, timeline: Timeline) -> Iterator[Sample]:
        """One, unless nothing could be predicted in it."""
        rows = timeline.turns()
        if len(rows) >= LEAST_ROWS:
            yield next_row_sample(rows, self.vocabulary)

    def _picture_codes(self, blob: Blob, report: Report) -> np.ndarray | None:
        size = self.config.image.size
        try:
            image = read_image_bytes(blob.read(MAX_BYTES), blob.name, longest=2 * size)
        except UserError as error:
            report.skip(blob.name, str(error))
            return None
        report.pictures += 1
        return self.tokenizers.encode_image(fit_image(image, size))

    def _spoken(self, activity: VoiceActivity, blob: Blob, report: Report) -> Iterator[Sample]:
        """Each segment of speech, filled with silence to whole steps."""
        with blob.open() as file, open_audio_in(file, blob.name, MAX_SECONDS) as reader:
            report.sounds += 1

            def counted() -> Iterator[np.ndarray]:
                for block_S in reader:
                    report.heard_seconds += len(block_S) / SAMPLE_RATE
                    yield block_S

            for speech in activity.segments(counted(), self.longest_speech):
                report.speech_seconds += len(speech.sound_S) / SAMPLE_RATE
                sound_S = np.pad(speech.sound_S, (0, -len(speech.sound_S) % STEP_SAMPLES))
                codes = self.tokenizers.encode_audio(sound_S)
                timeline = self._timeline()
                add_speech(timeline, Stream.AUDIO_IN, codes, self.config.audio)
                yield from self._sample(timeline)


def check_rows(config: OmniConfig, most_rows: int) -> None:
    """Whether a picture fits into a sample, and some sound.

    Raises:
        UserError: it does not.
    """
    least = max(config.image.num_tokens + 1, int(8 * config.audio.frames_per_step) + 1)
    if most_rows < least:
        raise UserError(
            f"Samples of {most_rows:,} rows are too short for a picture and two seconds of sound; "
            f"raise --rows to at least {least:,}."
        )
