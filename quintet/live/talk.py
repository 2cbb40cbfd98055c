"""A live session over files: a question goes in on the clock, the reply is collected."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from quintet.config import STEP_SAMPLES, STEPS_PER_SECOND, UserError
from quintet.live.inputs import as_picture, as_sound, as_text, too_long
from quintet.live.session import Session, StepOutput
from quintet.live.timeline_plot import plot_timeline
from quintet.media.audio import read_audio, write_audio
from quintet.media.images import read_image, write_image

LEAD_STEPS = 1  # before anything comes in: few training scenes begin with a request
QUIET_STEPS = 6  # after the input has ended: this long without output ends the session
QUIET_SHARE = 0.1  # of the loudest step: under it, a step of the input is a pause
LONGEST_REPLY_STEPS = 80  # 20 s after the input has ended
MAX_TEXT = 4_000  # characters: more are too many tokens, whatever they are
LONGEST_WRITING = 60.0  # seconds without a new file of a reply

Media = np.ndarray | Image.Image | str | Path


@dataclass(frozen=True)
class Reply:
    """What a live session gave back, from the first step of its input on.

    `audio` is float32 [samples] at 24 kHz on the session's clock, `images` are the finished
    pictures, `timeline` is one `StepOutput` for each step, in order.
    """

    text: str
    audio: np.ndarray
    images: list[np.ndarray]
    timeline: list[StepOutput]
    input_steps: int  # steps until the input ended
    asked_steps: int  # steps until its last word: a recording goes on in silence after it

    @property
    def stats(self) -> dict[str, float | int | None]:
        """Step times in milliseconds, and the latency of the first sound.

        `first_audio_seconds` runs from the end of the last step in which something was said,
        shown or typed to the first sample of the first utterance that begins then or later; None
        if there is none.
        """
        milliseconds = np.array([out.seconds for out in self.timeline]) * 1_000
        # Output of step s plays from s / 4 s on; n steps of input are over at n / 4 s. An
        # utterance that was under way by then is no answer to the whole of it.
        before = [False, *(out.speaking for out in self.timeline)]
        begun = [
            out.step
            for out, spoke in zip(self.timeline, before, strict=False)
            if out.speaking and not spoke and out.step >= self.asked_steps
        ]
        first = (begun[0] - self.asked_steps) / STEPS_PER_SECOND if begun else None
        return {
            "steps": len(self.timeline),
            "input_seconds": self.input_steps / STEPS_PER_SECOND,
            "step_milliseconds_p50": round(float(np.percentile(milliseconds, 50)), 2),
            "step_milliseconds_p99": round(float(np.percentile(milliseconds, 99)), 2),
            "step_milliseconds_max": round(float(milliseconds.max()), 2),
            "first_audio_seconds": first,
            "spoken_seconds": sum(out.speaking for out in self.timeline) / STEPS_PER_SECOND,
            "pictures": len(self.images),
        }

    def save(self, folder: str | Path) -> list[str]:
        """Write reply.wav, reply.txt, picture-N.png, timeline.png and stats.json: all or none.

        They replace an earlier reply in `folder`. The names of the files.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".reply.*"):  # by a process that was killed, if it is old
            if left.is_dir() and time.time() - left.stat().st_mtime > LONGEST_WRITING:
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".reply.") as partial:
            self._write(Path(partial))
            names = sorted(path.name for path in Path(partial).iterdir())
            for old in folder.glob("picture-*.png"):
                if old.stem.removeprefix("picture-").isdecimal():
                    old.unlink()
            for name in names:
                os.replace(Path(partial) / name, folder / name)
        return names

    def _write(self, folder: Path) -> None:
        write_audio(folder / "reply.wav", self.audio)
        (folder / "reply.txt").write_text(self.text + "\n", encoding="utf-8")
        for index, image in enumerate(self.images):
            write_image(folder / f"picture-{index}.png", image)
        plot_timeline(self.timeline, folder / "timeline.png")
        stats = json.dumps(self.stats, indent=2) + "\n"
        (folder / "stats.json").write_text(stats, encoding="utf-8")


def _sound(audio: np.ndarray | str | Path | None) -> np.ndarray:
    if audio is None:
        return np.zeros(0, np.float32)
    return read_audio(audio) if isinstance(audio, str | Path) else as_sound(audio)


def _pictures(image: Media | Sequence[Media] | None) -> list[np.ndarray]:
    if image is None:
        return []
    several = image if isinstance(image, Sequence) and not isinstance(image, str) else [image]
    return [as_picture(read_image(m) if isinstance(m, str | Path) else m) for m in several]


def talk(
    session: Session,
    audio: np.ndarray | str | Path | None = None,
    image: Media | Sequence[Media] | None = None,
    text: str | None = None,
) -> Reply:
    """Run `session` over the inputs until the reply has ended.

    After a quiet step pictures arrive one a step, text in the step after the last of them, and
    the sound begins in the step after all of these.

    Raises:
        UserError: nothing to hear, see or read; a file that cannot be read; an array that is no
            sound or no picture; a text too long.
    """
    if text is not None and len(as_text(text)) > MAX_TEXT:
        raise too_long(text)
    sound, pictures = _sound(audio), _pictures(image)
    text = text if text and text.strip() else None
    if not len(sound) and not pictures and not text:
        raise UserError("There is nothing to answer; give a sound, a picture or a text.")
    typed = LEAD_STEPS + len(pictures)
    first_sound = typed + bool(text)
    input_steps = first_sound + -(-len(sound) // STEP_SAMPLES)
    padded = np.zeros((input_steps + LONGEST_REPLY_STEPS) * STEP_SAMPLES, np.float32)
    start = first_sound * STEP_SAMPLES
    padded[start : start + len(sound)] = sound
    outputs: list[StepOutput] = []
    for step in range(input_steps + LONGEST_REPLY_STEPS):
        outputs.append(
            session.step(
                padded[step * STEP_SAMPLES : (step + 1) * STEP_SAMPLES],
                pictures[step - LEAD_STEPS] if LEAD_STEPS <= step < typed else None,
                text if step == typed else None,
            )
        )
        recent = outputs[-QUIET_STEPS:]
        if step >= input_steps + QUIET_STEPS and not any(
            o.speaking or o.text or o.image is not None for o in recent
        ):
            break
    return collect(outputs, input_steps, first_sound + _spoken_steps(sound))


def _spoken_steps(sound: np.ndarray) -> int:
    """Steps of `sound` (float32 [samples]) until the last one that is louder than its pauses."""
    padded = np.pad(sound, (0, -len(sound) % STEP_SAMPLES)).reshape(-1, STEP_SAMPLES)
    loudness = np.sqrt(np.square(padded).mean(1))
    loudest, room = loudness.max(initial=0), loudness.min(initial=1)
    # A noisy room is heard in every step: its pauses are as loud as the quietest one.
    pause = max(QUIET_SHARE * loudest, min(2 * room, loudest / 2))
    loud = np.flatnonzero(loudness > pause)
    return int(loud[-1]) + 1 if len(loud) else 0


def collect(outputs: list[StepOutput], input_steps: int, asked_steps: int) -> Reply:
    text = "".join(out.text + ("\n" if out.text_ended else "") for out in outputs).strip()
    # Output of step s plays during step s: the first call's output belongs to step 1.
    audio = np.concatenate([np.zeros(STEP_SAMPLES, np.float32), *(out.audio for out in outputs)])
    images = [out.image for out in outputs if out.image_done and out.image is not None]
    return Reply(text, audio, images, outputs, input_steps, asked_steps)
