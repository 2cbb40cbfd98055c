"""A model that needs no weights: it answers what it hears in a way that a test can foresee."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from quintet.config import STEP_SAMPLES, OmniConfig, UserError
from quintet.live.engine import Given
from quintet.live.sampling import Sampling
from quintet.live.session import StepOutput
from quintet.live.turns import TurnReply

PIECE = 480  # samples that the page sends at once: 20 ms


class FakeSession:
    """Says "you wrote X" to a text, draws two steps long at "draw", refuses "refuse"."""

    def __init__(self, model: FakeModel) -> None:
        self.model, self.now, self.drawing = model, 0, 0

    def step(
        self, audio: np.ndarray, image: np.ndarray | None = None, text: str | None = None
    ) -> StepOutput:
        self.model.threads.add(threading.current_thread().name)
        time.sleep(self.model.delay)
        if text == "refuse":
            raise UserError("The text is refused; send another.")
        if text == "crash":
            raise RuntimeError("the fake is broken")
        self.model.heard.append((audio, image, text))
        self.now += 1
        words = f"you wrote {text}" if text else "I see it." if image is not None else ""
        if text and "draw" in text:
            self.drawing = 2
        picture = np.full((48, 48, 3), 80 * self.drawing, np.uint8) if self.drawing else None
        self.drawing = max(0, self.drawing - 1)
        speaking = bool(words)
        counts = {"text_in": 3 * bool(text), "audio_in": 5, "image_in": 64 * (image is not None),
                  "text_out": 4 * speaking, "image_out": 16 * (picture is not None),
                  "audio_out": 5 * speaking}  # fmt: skip
        sound = np.full(STEP_SAMPLES, 0.5 if speaking else 0.0, np.float32)
        return StepOutput(
            self.now, sound, speaking, words, speaking, picture,
            picture is not None and not self.drawing, counts,
            (0.02, 0.01) if speaking else (0.98, 0.99), self.model.seconds,
        )  # fmt: skip


class FakeEngine:
    """Steps one session after another."""

    def __init__(self, model: FakeModel) -> None:
        self.model = model
        self.sessions: dict[int, FakeSession] = {}

    def join(self, speaker: np.ndarray | None = None, **_: Any) -> int:
        seat = min(set(range(len(self.sessions) + 1)) - self.sessions.keys())
        self._sit(seat, speaker)
        return seat

    def renew(self, seat: int, speaker: np.ndarray | None = None, **_: Any) -> None:
        self._sit(seat, speaker)

    def _sit(self, seat: int, speaker: np.ndarray | None) -> None:
        self.sessions[seat] = self.model.session()
        self.model.speakers.append(None if speaker is None else speaker.tolist())

    def tune(self, seat: int, sampling: Sampling) -> None:
        self.model.sampled.append(sampling)

    def leave(self, seat: int) -> None:
        del self.sessions[seat]

    def step(self, given: Mapping[int, Given]) -> dict[int, StepOutput | Exception]:
        made: dict[int, StepOutput | Exception] = {}
        for seat, one in given.items():
            try:
                made[seat] = self.sessions[seat].step(*one)
            except Exception as error:
                made[seat] = error
        return made


class FakeModel:
    """Remembers what its sessions heard, and in which threads.

    A step says that it took `seconds`, and really takes `delay`.
    """

    card = ""

    def __init__(self, seconds: float = 0.01, delay: float = 0.0) -> None:
        self.config = OmniConfig()
        self.seconds, self.delay = seconds, delay
        self.heard: list[tuple[np.ndarray, np.ndarray | None, str | None]] = []
        self.threads: set[str] = set()
        self.num_sessions = 0
        self.sampled: list[Sampling] = []  # that its sessions were told
        self.chats: list[list[dict[str, Any]]] = []
        self.voices: dict[str, np.ndarray] = {}
        self.speakers: list[list[list[int]] | None] = []  # codes, of each of its sessions
        self.chat_voices: list[str | None] = []  # of each of its answers in turn mode

    def session(self, **_: Any) -> FakeSession:
        self.num_sessions += 1
        return FakeSession(self)

    def engine(self, seats: int) -> FakeEngine:
        return FakeEngine(self)

    def chat(
        self,
        messages: Sequence[dict[str, Any]],
        seed: int = 0,
        *,
        tell: Callable[[str], None] | None = None,
        pause: Callable[[], None] | None = None,
        voice: str | None = None,
    ) -> TurnReply:
        """Turn mode: says what it was given last; draws at "draw", crashes at "crash"."""
        parts = messages[-1]["content"]
        parts = list(parts) if isinstance(parts, list | tuple) else [parts]
        self.chats.append(list(messages))
        self.chat_voices.append(voice)
        words = " ".join(
            part if isinstance(part, str) else "a picture" if getattr(part, "ndim", 3) == 3
            else f"{len(part) / 24_000:.2f} s" for part in parts
        )  # fmt: skip
        if "refuse" in words:
            raise UserError("The text is refused; send another.")
        if "crash" in words:
            raise RuntimeError("the fake is broken")
        for word in ["you", " gave", " ", words] if tell else []:
            tell(word)  # type: ignore[misc]
        pictures = [np.full((48, 48, 3), 90, np.uint8)] if "draw" in words else []
        counts = {"text_in": 3, "image_in": 64, "audio_in": 5, "text_out": 4,
                  "image_out": 64 * len(pictures), "audio_out": 6}  # fmt: skip
        sound = np.full(6_000, 0.25, np.float32)
        return TurnReply(f"you gave {words}", pictures, sound, counts)

    def texts(self) -> list[str]:
        """Every text that a session was given."""
        return [text for _, _, text in self.heard if text]

    def sounds(self) -> list[np.ndarray]:
        """Every step's sound that was not silence."""
        return [audio for audio, _, _ in self.heard if audio.any()]
