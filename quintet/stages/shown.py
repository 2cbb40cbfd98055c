"""What the model makes, while it trains, of samples kept out of training: for people to look at.

It writes and speaks with the module that is being trained, with random choices of its own, so
that the training goes on as if nobody had looked.
"""

from __future__ import annotations

import time
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, STEPS_PER_SECOND, counted
from quintet.live.session import Inputs, Session
from quintet.live.talk import collect
from quintet.live.turns import MAX_ROWS, TurnReply, answer_rows
from quintet.media.audio import write_audio
from quintet.media.images import write_image
from quintet.model.omni import Omni
from quintet.stages.context import Context
from quintet.stages.omni_task import tokenizers_of
from quintet.timeline.rows import Rows
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import Sample
from quintet.tokenizers.bundle import Tokenizers

WORDS, LARGEST_PICTURE = 64, 1_024  # rows of an answer; a larger picture is left out
SECONDS = 4  # of speech in an answer
SCENE_STEPS = 60  # 15 s of a live scene, at most


class Shown:
    """Each method writes files whose names begin with `index` into `folder`."""

    def __init__(self, context: Context) -> None:
        self.context, self.config = context, context.preset
        self.rows = WORDS + self.config.image.num_tokens
        if self.config.image.num_tokens > LARGEST_PICTURE:
            self.rows = WORDS

    @cached_property
    def tokenizers(self) -> Tokenizers:
        return tokenizers_of(self.context)

    def answer(self, model: Omni, sample: Sample, folder: Path, index: int) -> None:
        """A request in turn mode, the answer that was to be learned, and the model's."""
        rows = sample.rows
        start = int(np.flatnonzero(rows.flag)[0])
        frames = round(SECONDS * STEPS_PER_SECOND * self.config.audio.frames_per_step)
        if start + self.rows + frames > MAX_ROWS:
            return
        request = rows.take(slice(0, start))
        reply = answer_rows(model, self.tokenizers, request, self.rows, frames)
        self._write(reply, folder, index, {
            "request": self._told(request),
            "answer": self._told(rows.take(slice(start, None))),
        })  # fmt: skip

    def document(self, model: Omni, sample: Sample, folder: Path, index: int) -> None:
        """The first half of a document as it is, and how the model goes on."""
        rows, end = sample.rows, self.tokenizers.text.end_id
        ends = (rows.modality == Modality.TEXT) & (rows.tokens[:, 0] == end)
        cuts = np.flatnonzero(ends[: len(rows) * 2 // 3])
        if not len(cuts) or len(rows) + self.rows > MAX_ROWS:
            return
        cut = int(cuts[-1]) + 1
        begun = rows.take(slice(0, cut))
        reply = answer_rows(model, self.tokenizers, begun, self.rows, frames=0)
        told = {"document": self._told(begun), "rest": self._told(rows.take(slice(cut, None)))}
        self._write(reply, folder, index, told)

    def scene(self, model: Omni, sample: Sample, folder: Path, index: int) -> None:
        """The beginning of a live scene, on the clock, as `quintet talk` would save it."""
        rows = sample.rows
        is_prompt = rows.step < 0
        speaker = rows.tokens[is_prompt] if is_prompt.any() else None
        session, outputs = Session(model, self.tokenizers, speaker=speaker), []
        steps = min(int(rows.step.max()) + 1, SCENE_STEPS)
        for step in range(steps):
            text, image, sound = (
                rows.tokens[(rows.stream == stream) & (rows.step == step)]
                for stream in (Stream.TEXT_IN, Stream.IMAGE_IN, Stream.AUDIO_IN)
            )
            inputs = Inputs(torch.zeros(STEP_SAMPLES), text[:, 0], image[:, 0])
            codes_TQ = torch.from_numpy(sound).long()
            outputs.append(session.answer(inputs, codes_TQ, time.perf_counter()))
        collect(outputs, steps, steps).save(folder / f"{index}")
        begun = rows.take((rows.step < steps) & (rows.flag == 1))
        (folder / f"{index}" / "script.txt").write_text(self._told(begun) + "\n", encoding="utf-8")

    def _told(self, rows: Rows) -> str:
        """Rows in words: [picture] and [1.2 s of sound] where they stand."""
        told = []
        edges = np.flatnonzero(np.diff(rows.modality, prepend=-1, append=-1))
        for start, stop in pairwise(edges.tolist()):
            if rows.modality[start] == Modality.TEXT:
                told.append(self._lines(rows.tokens[start:stop, 0]))
            elif rows.modality[start] == Modality.IMAGE:
                told.append("[picture]" * ((stop - start) // self.config.image.num_tokens))
            else:
                seconds = (stop - start) / (STEPS_PER_SECOND * self.config.audio.frames_per_step)
                told.append(f"[{seconds:.1f} s of sound]")
        return " ".join(part.strip() for part in told if part)

    def _lines(self, ids: np.ndarray) -> str:
        """Messages, told apart by a stroke."""
        text = self.tokenizers.text
        messages = np.split(ids, np.flatnonzero(ids == text.end_id) + 1)
        return " / ".join(text.decode(message.tolist()) for message in messages if len(message))

    def _write(self, reply: TurnReply, folder: Path, index: int, told: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(reply.images):
            write_image(folder / f"{index}-picture-{number}.png", image)
        if len(reply.audio):
            write_audio(folder / f"{index}-speech.wav", reply.audio)
        pictures = counted(len(reply.images), "picture")
        made = f"{pictures}, {len(reply.audio) / SAMPLE_RATE:.1f} s of speech"
        told |= {"model": reply.text, "and made": made}
        text = "".join(f"{name}: {words}\n" for name, words in told.items())
        (folder / f"{index}.txt").write_text(text, encoding="utf-8")
