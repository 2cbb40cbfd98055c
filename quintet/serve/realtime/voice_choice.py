"""Which voice a session of the Realtime API has, and until when it may be another.

A voice belongs to the model's session from its start, so another means another session. Nothing
that was said may be lost with the old one: it is begun anew only as long as the model was given
nothing but silence, of which no turn was made, and has said nothing itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quintet.live.session import StepOutput
from quintet.serve.api.problems import RequestError
from quintet.serve.sound_buffer import QUIET, level
from quintet.serve.voices import Voiced, known_voice

Step = tuple[np.ndarray, np.ndarray | None, str | None]  # sound, picture, words
CODE = "cannot_update_voice"


class VoiceChoice:
    """The voice of one connection.

    Args:
        model: whose voices may be chosen; None has its own alone.
        wanted: as the settings name it.
    """

    def __init__(self, model: Voiced | None, wanted: Any) -> None:
        self.model = model
        self.fixed = False  # the model has heard, seen, read or said something
        self.name = self._known(wanted)  # None: the model's own

    def update(self, wanted: Any) -> None:
        """The session is to have the voice `wanted`.

        Raises:
            RequestError: it is another, and it is too late for that.
        """
        name = self._known(wanted)
        if name != self.name and self.fixed:
            raise RequestError(
                "The model has heard or said something in this session, which keeps its voice; "
                "start another for another voice.", CODE, "session.audio.output.voice",
            )  # fmt: skip
        self.name = name

    def check_response(self, wanted: Any) -> None:
        """A response has its session's voice.

        Raises:
            RequestError: it is to have another.
        """
        if self._known(wanted) != self.name:
            raise RequestError(
                "A response speaks in the voice of its session; choose that in session.update, "
                "before anything is said.", CODE, "response.audio.output.voice",
            )  # fmt: skip

    def gave(self, step: Step) -> Step:
        """Note what the model is given."""
        audio, picture, words = step
        if picture is not None or words or level(audio) > QUIET:
            self.fixed = True
        return step

    def turned(self) -> None:
        """A turn began or ended in what the model was given, however quiet that was."""
        self.fixed = True

    def took(self, output: StepOutput) -> None:
        """Note what the model says."""
        if output.speaking or output.text or output.image is not None:
            self.fixed = True

    def _known(self, wanted: Any) -> str | None:
        return known_voice(wanted, self.model) if self.model else None
