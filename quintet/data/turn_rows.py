"""Rows without a clock: how text, pictures and speech stand in documents, whoever made these."""

from __future__ import annotations

import numpy as np

from quintet.config import AudioConfig
from quintet.timeline.streams import Stream
from quintet.timeline.timeline import Timeline

TURN_TIME = 0  # the constant time of text and pictures outside live mode


def add_picture(timeline: Timeline, codes: np.ndarray, image_id: int) -> None:
    """A received picture, codes [G * G], in the middle of the text stream."""
    timeline.add_text(Stream.TEXT_IN, [image_id], TURN_TIME)
    timeline.add_image(Stream.TEXT_IN, codes, TURN_TIME)


def add_speech(timeline: Timeline, stream: Stream, codes: np.ndarray, audio: AudioConfig) -> None:
    """Audio rows, codes [T, Q], whose time is their own position, in steps."""
    step = 0
    while audio.frames_before(step) < len(codes):
        frames = slice(audio.frames_before(step), audio.frames_before(step + 1))
        timeline.add_audio(stream, codes[frames], step)
        step += 1
