"""A session written down: what it was given at each step, and the rows that it answered with.

A session is a pure function of its seed and its inputs, so the same inputs give the same rows
again. Sound is kept exactly: as int16 where it was that, or else as float32. A picture is kept as
the session sees it, fitted to the model's size.

The file is safetensors, in a version of its own:

    sound               int16 or float32 [T, 6000]
    pictures            uint8 [P, H, W, 3], shown at the steps picture_steps int32 [P]
    text_image          int32 [N, 2]: modality and token of each row of the text+image stream
    text_image_counts   int32 [T]
    frames              int32 [M, Q]: codes of each row of the audio stream
    frame_counts        int32 [T]
    no_output           float32 [T, 2]: the probability of silence of the two heads
    speaker             int32 [N, Q]: the voice to answer in, if it was given one (version 2)

and, in its header, the settings, the texts and the changes of `Sampling` by step, and how the
session ended. Where `yield_above` is missing, the session was of a version that did not yield; such
a version reads no file that has it.

Shapes: T steps, Q codebooks.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from quintet.config import MISFITS, STEP_SAMPLES, OmniConfig, UserError, from_dict
from quintet.live.decoder import Answer
from quintet.live.inputs import as_picture
from quintet.live.pretrained import Quintet
from quintet.live.sampling import NEVER, Sampling
from quintet.live.session import Session
from quintet.live.speakers import is_voice
from quintet.media.images import fit_image
from quintet.timeline.streams import Modality
from quintet.whole_file import whole_file

KIND = "recording"
PLAIN, WITH_SPEAKER = "1", "2"  # versions of the file: who knows only the first refuses the second
INT16 = 32_768  # by which samples of 16 bits are divided


@dataclass
class Recording:
    """A session so far.

    Args:
        config: of its model.
        ended: "" while it goes on; then why: "left", "limit" (of the recording), "shutdown", or
            "failed": then the last step has no answer.
    """

    config: OmniConfig
    seed: int
    sampling: Sampling
    ended: str = ""
    sound: list[np.ndarray] = field(default_factory=list)  # int16 or float32 [6000] of each step
    pictures: dict[int, np.ndarray] = field(default_factory=dict)  # uint8 [H, W, 3], by step
    texts: dict[int, str] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    num_bytes: int = 0  # of sound and pictures
    tuned: dict[int, Sampling] = field(default_factory=dict)  # another from that step on
    speaker: np.ndarray | None = None  # codes [N, Q] of the voice to answer in

    def tune(self, sampling: Sampling) -> None:
        """From the next step on the session chooses like this."""
        self.tuned[len(self.sound)] = sampling

    def add(
        self,
        audio: np.ndarray,
        image: np.ndarray | Image.Image | None,
        text: str | None,
        answer: Answer | None,
    ) -> None:
        """Note one step: inputs that the session took, and its answer; None where it failed."""
        sound = np.asarray(audio, np.float32)
        whole = sound * INT16
        if np.array_equal(whole, np.rint(whole)) and np.abs(whole).max() < INT16:
            sound = whole.astype(np.int16)
        if image is not None:
            seen = Image.fromarray(as_picture(image))
            picture = fit_image(seen, self.config.image.size)
            self.pictures[len(self.sound)] = picture
            self.num_bytes += picture.nbytes
        if text:
            self.texts[len(self.sound)] = text
        self.sound.append(sound)
        self.answers.append(answer or Answer([], []))
        self.num_bytes += sound.nbytes

    def input(self, step: int) -> tuple[np.ndarray, np.ndarray | None, str | None]:
        """Sound float32 [6000], picture and text of that step."""
        sound = self.sound[step]
        if sound.dtype == np.int16:
            sound = sound.astype(np.float32) / INT16
        return sound, self.pictures.get(step), self.texts.get(step)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all, readable for its owner alone."""
        tensors = _tensors(self)
        version = PLAIN if self.speaker is None else WITH_SPEAKER
        header = {
            "kind": KIND, "format_version": version, "config": self.config.to_dict(),
            "seed": self.seed, "sampling": asdict(self.sampling), "ended": self.ended,
            "texts": {str(step): text for step, text in self.texts.items()},
            "tuned": {str(step): asdict(sampling) for step, sampling in self.tuned.items()},
        }  # fmt: skip
        data = save(tensors, {name: json.dumps(value) for name, value in header.items()})
        with whole_file(path, mode=0o600) as file:
            file.write(data)

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read such a file.

        Raises:
            UserError: there is none, or it is damaged or something else.
        """
        if not path.is_file():
            raise UserError(f"There is no file {path}; check the name.")
        try:
            with safe_open(path, "np") as file:
                header = {name: json.loads(value) for name, value in file.metadata().items()}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header["kind"] != KIND or header["format_version"] not in (PLAIN, WITH_SPEAKER):
                raise ValueError("another kind or version")
            return _from_file(header, tensors, path)
        except UserError:
            raise
        except (SafetensorError, OSError, AttributeError, IndexError, *MISFITS):
            raise UserError(
                f"{path} is not a whole recording of this version; name one that quintet serve "
                "--record wrote."
            ) from None


@dataclass(frozen=True)
class Difference:
    """Where a replay first differs: `at` counts the rows of that stream within the step."""

    step: int  # as in `StepOutput`, from 1
    stream: str  # "text+image" or "audio"
    at: int
    recorded: tuple[int, ...] | None  # modality and token, or codes; None where there was no row
    replayed: tuple[int, ...] | None


def replay(recording: Recording, system: Quintet) -> Difference | None:
    """Step a fresh session of `system` through what was given, and compare every row.

    Raises:
        UserError: the recording was made with a model of other sizes.
        Exception: the session failed, and fails again.
    """
    if recording.config.to_dict() != system.config.to_dict():
        raise UserError(
            f"The session was recorded with another model than this, {recording.config.name}; "
            "name that with --model."
        )
    session = Session(
        system.model, system.tokenizers, recording.sampling, recording.seed,
        speaker=recording.speaker,
    )  # fmt: skip
    for step, expected in enumerate(recording.answers):
        session.decoder.sampling = recording.tuned.get(step, session.decoder.sampling)
        output = session.step(*recording.input(step))
        assert output.answer is not None
        failed = recording.ended == "failed" and step + 1 == len(recording.answers)
        found = None if failed else _difference(step + 1, expected, output.answer)
        if found:
            return found
    return None


def _difference(step: int, recorded: Answer, replayed: Answer) -> Difference | None:
    def rows(answer: Answer) -> dict[str, list[tuple[int, ...]]]:
        return {
            "text+image": [(int(modality), int(token)) for modality, token in answer.text_image],
            "audio": [tuple(map(int, frame)) for frame in answer.frames],
        }

    before, after = rows(recorded), rows(replayed)
    for stream in before:
        one, other = before[stream], after[stream]
        for at in range(max(len(one), len(other))):
            was = one[at] if at < len(one) else None
            now = other[at] if at < len(other) else None
            if was != now:
                return Difference(step, stream, at, was, now)
    return None


def _tensors(recording: Recording) -> dict[str, np.ndarray]:
    config, answers = recording.config, recording.answers
    size, sound = config.image.size, recording.sound
    if any(one.dtype != np.int16 for one in sound):
        sound = [recording.input(step)[0] for step in range(len(sound))]
    rows = [(int(m), int(token)) for answer in answers for m, token in answer.text_image]
    frames = [frame for answer in answers for frame in answer.frames]
    pictures = list(recording.pictures.values())
    speaker = {} if recording.speaker is None else {"speaker": recording.speaker.astype(np.int32)}
    return speaker | {
        "sound": np.stack(sound) if sound else np.zeros((0, STEP_SAMPLES), np.int16),
        "pictures": np.array(pictures, np.uint8).reshape(-1, size, size, 3),
        "picture_steps": np.array(list(recording.pictures), np.int32),
        "text_image": np.array(rows, np.int32).reshape(-1, 2),
        "text_image_counts": np.array([len(one.text_image) for one in answers], np.int32),
        "frames": np.array(frames, np.int32).reshape(-1, config.audio.num_codebooks),
        "frame_counts": np.array([len(one.frames) for one in answers], np.int32),
        "no_output": np.array([one.no_output for one in answers], np.float32).reshape(-1, 2),
    }


def _from_file(header: dict[str, Any], tensors: dict[str, np.ndarray], path: Path) -> Recording:
    """Anything that does not fit raises a UserError, one of `MISFITS` or an IndexError."""
    config = from_dict(OmniConfig, header["config"], str(path))
    sound, pictures = tensors["sound"], tensors["pictures"]
    steps = len(sound)
    if sound.shape != (steps, STEP_SAMPLES) or sound.dtype not in (np.int16, np.float32):
        raise ValueError("sound")
    counts = [tensors["text_image_counts"].tolist(), tensors["frame_counts"].tolist()]
    totals = [len(tensors["text_image"]), len(tensors["frames"])]
    shown = tensors["picture_steps"].tolist()
    if [sum(one) for one in counts] != totals or any(len(one) != steps for one in counts):
        raise ValueError("counts")
    if len(shown) != len(pictures) or pictures.dtype != np.uint8:
        raise ValueError("pictures")
    text_image = [(Modality(m), token) for m, token in tensors["text_image"].tolist()]
    answers, at, frame_at = [], 0, 0
    for step, (rows, frames) in enumerate(zip(*counts, strict=True)):
        silence = tensors["no_output"][step].tolist()
        frames_TQ = tensors["frames"][frame_at : frame_at + frames]
        answers.append(Answer(text_image[at : at + rows], list(frames_TQ), tuple(silence)))
        at, frame_at = at + rows, frame_at + frames
    speaker = tensors.get("speaker")
    if speaker is not None and not is_voice(speaker, config.audio):
        raise ValueError("speaker")
    texts = {int(step): str(text) for step, text in header["texts"].items()}
    tuned = {int(step): _sampling(one) for step, one in header["tuned"].items()}
    return Recording(
        config, int(header["seed"]), _sampling(header["sampling"]), str(header["ended"]),
        list(sound), dict(zip(shown, pictures, strict=True)), texts, answers,
        sound.nbytes + pictures.nbytes, tuned, speaker,
    )  # fmt: skip


def _sampling(fields: dict[str, float]) -> Sampling:
    """As it was recorded."""
    try:
        return Sampling(**{"yield_above": NEVER, **fields})
    except UserError:
        raise ValueError("sampling") from None
