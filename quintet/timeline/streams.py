"""The table of the five streams: where a row comes from, what it may hold, who goes first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Modality(IntEnum):
    """What a row is made of."""

    TEXT = 0
    IMAGE = 1
    AUDIO = 2


class Stream(IntEnum):
    """Where a row comes from. The values are the order of streams inside a step's half."""

    TEXT_OUT = 0  # text and drawn pictures
    AUDIO_OUT = 1
    TEXT_IN = 2
    IMAGE_IN = 3  # live video
    AUDIO_IN = 4


@dataclass(frozen=True)
class StreamInfo:
    """One row of the table. `holds` is what usually fills the stream; a text stream may also
    hold pictures and sound in the middle of a sentence."""

    label: str
    holds: Modality
    is_output: bool  # the source flag of its rows: made by the model


STREAMS: dict[Stream, StreamInfo] = {
    Stream.TEXT_OUT: StreamInfo("text + image out", Modality.TEXT, True),
    Stream.AUDIO_OUT: StreamInfo("audio out", Modality.AUDIO, True),
    Stream.TEXT_IN: StreamInfo("text in", Modality.TEXT, False),
    Stream.IMAGE_IN: StreamInfo("image in", Modality.IMAGE, False),
    Stream.AUDIO_IN: StreamInfo("audio in", Modality.AUDIO, False),
}
