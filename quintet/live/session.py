"""A live session: 250 ms of sound, text and pictures in, 250 ms of speech, words and pictures out.

One call of `step` is one step of the clock. Everything a session remembers is bounded, so it can
run for hours: the cache slides by steps, the codec's state has a fixed size, and time and
position are functions that never run out.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from quintet.config import MAX_TEXT_TOKENS, STEP_SAMPLES, OmniConfig, UserError
from quintet.live.decoder import Answer, Rounds, TipDecoder
from quintet.live.inputs import as_picture, as_sound, as_text, too_long
from quintet.live.sampling import NEVER, Sampling
from quintet.media.images import fit_image
from quintet.model.cache import KVCache
from quintet.model.omni import Omni
from quintet.timeline.rows import concatenate, single_column
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.timeline import speaker_rows
from quintet.tokenizers.bundle import Tokenizers
from quintet.tokenizers.image import to_pixels
from quintet.tokenizers.streaming import State


@dataclass(frozen=True)
class StepOutput:
    """What the model gives in one step, to be played during `step` (the input's step + 1)."""

    step: int
    audio: np.ndarray  # float32 [6000]; zeros when silent
    speaking: bool
    text: str  # new words; "" when silent
    text_ended: bool  # the message that the words belong to is complete
    image: np.ndarray | None  # uint8 [H, W, 3]: the picture being drawn, as far as it is
    image_done: bool
    counts: dict[str, int]  # rows of this step by kind: text_in, audio_in, image_in, ..._out
    no_output: tuple[float, float]  # probability of silence: text+image head, audio head
    seconds: float  # that the step took to compute
    answer: Answer | None = None  # the rows that all this was made of


class Words:
    """Turns ids into words as they come, keeping back bytes of an unfinished character."""

    def __init__(self, tokenizers: Tokenizers) -> None:
        self.tokenizer = tokenizers.text
        self.pending: list[int] = []

    def push(self, token: int) -> str:
        """The words that are complete with `token`; a message's end completes what there is."""
        self.pending.append(token)
        text, ended = self.tokenizer.decode(self.pending), token == self.tokenizer.end_id
        unfinished = text.endswith("\N{REPLACEMENT CHARACTER}") and len(self.pending) < 4
        if unfinished and not ended:
            return ""
        self.pending.clear()
        return text


@dataclass(frozen=True)
class Inputs:
    """What a session is given in one step, checked: sound float32 [6000], entries of words and
    of a picture (of the unified vocabulary)."""

    sound_S: Tensor
    text: np.ndarray
    image: np.ndarray


def check_room(speaker: np.ndarray | None, config: OmniConfig, cache: KVCache) -> None:
    """Refuse the codes [N, Q] of a speaker if a session's cache has no room for them beside a full
    step.

    Raises:
        UserError: it has none.
    """
    if speaker is None:
        return
    needed = len(speaker) + config.rows_of_fullest_step
    if needed > cache.max_rows:
        raise UserError(
            f"max_rows is {cache.max_rows}, and a voice beside a full step needs {needed}; use "
            "the model's own voice, or raise max_rows in its config.json."
        )


class Session:
    """One conversation. Not safe to step from two threads at once.

    Args:
        cache: for one session; its own by default.
        speaker: codes [N, Q] of the voice that it answers in (`live.speakers`); the model's own
            by default.

    Raises:
        UserError: the cache has no room for a speaker beside a full step.
    """

    def __init__(
        self,
        model: Omni,
        tokenizers: Tokenizers,
        sampling: Sampling | None = None,
        seed: int = 0,
        cache: KVCache | None = None,
        speaker: np.ndarray | None = None,
    ) -> None:
        self.config, self.tokenizers = model.config, tokenizers
        if cache is None:
            cache = KVCache(self.config.model, self.config.live.max_rows, device=model.device)
        self.decoder = TipDecoder(model, tokenizers.text, sampling or Sampling(), seed, cache)
        # Which compiles what the codec computes, before a clock runs.
        importlib.import_module("quintet.tokenizers.loops")
        if speaker is not None:
            self._hear_speaker(speaker)
        self.now = 0  # the step whose input comes next
        self.heard: State | None = None  # of the audio encoder
        self.voice: State | None = None  # of the audio decoder, None between utterances
        self._spare = np.zeros(0, np.float32)  # decoded samples that the last step had no room for
        self._speaks = False  # an utterance is under way
        self._words = Words(tokenizers)
        self._picture: list[int] = []  # codes of the picture being drawn

    def _hear_speaker(self, codes: np.ndarray) -> None:
        check_room(codes, self.config, self.decoder.cache)
        self.decoder.extend(speaker_rows(codes, self.config.audio))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to close: what a session remembers goes with it."""

    @torch.no_grad()
    def step(
        self,
        audio: np.ndarray,
        image: np.ndarray | Image.Image | None = None,
        text: str | None = None,
    ) -> StepOutput:
        """Hear `audio` (float32 [6000]), see `image` (uint8 [H, W, 3]), read `text`; answer.

        Raises:
            UserError: a shape that is not as above, or a text too long for one message.
        """
        started = time.perf_counter()
        inputs = self.read(audio, image, text)
        codes_BTQ, self.heard = self.tokenizers.audio.encode(inputs.sound_S[None], self.heard)
        return self.answer(inputs, codes_BTQ[0], started)

    @torch.no_grad()
    def answer(self, inputs: Inputs, codes_TQ: Tensor, started: float) -> StepOutput:
        """A step whose inputs are encoded already, its sound as `codes_TQ`; `started` is when, by
        `time.perf_counter`."""
        answer = self.decoder.run(self.rounds(inputs, codes_TQ))
        sound_S = self._decode(answer.frames)
        return self.output(inputs, answer, sound_S, time.perf_counter() - started)

    def read(
        self, audio: np.ndarray, image: np.ndarray | Image.Image | None, text: str | None
    ) -> Inputs:
        """Check what comes in, and encode all but the sound; nothing is taken in yet.

        Raises:
            UserError: as `step`.
        """
        audio = as_sound(audio)
        if len(audio) != STEP_SAMPLES:
            raise UserError(
                f"A step takes {STEP_SAMPLES} samples of sound, not {len(audio)}; "
                "cut the sound into steps of 250 ms."
            )
        tokenizers = self.tokenizers
        ids: list[int] = []
        if text is not None and as_text(text):
            ids = [*tokenizers.text.encode(text), tokenizers.text.end_id]
            if len(ids) > MAX_TEXT_TOKENS:
                raise too_long(text)
        codes = np.zeros(0, np.int32)
        if image is not None:
            seen = Image.fromarray(as_picture(image))
            picture = fit_image(seen, self.config.image.size)
            codes = tokenizers.encode_image(picture) + self.config.text.vocab_size
        sound_S = torch.from_numpy(np.ascontiguousarray(audio)).clamp(-1, 1)
        return Inputs(sound_S, np.array(ids, np.int32), codes)

    def rounds(self, inputs: Inputs, codes_TQ: Tensor) -> Rounds:
        """Take one step's inputs into the cache, their sound as codes, and answer them."""
        live, decoder, step = self.config.live, self.decoder, self.now
        num_codebooks = self.config.audio.num_codebooks
        frames, budget = self.config.audio.frames_in(step + 1), live.text_image_rows_per_step
        text, image = (single_column(ids, num_codebooks) for ids in (inputs.text, inputs.image))
        heard = codes_TQ.cpu().numpy()
        decoder.cache.make_room(len(text) + len(image) + len(heard) + budget + frames)
        yield concatenate(
            [
                decoder.rows(Stream.TEXT_IN, Modality.TEXT, text, step),
                decoder.rows(Stream.IMAGE_IN, Modality.IMAGE, image, step),
                decoder.rows(Stream.AUDIO_IN, Modality.AUDIO, heard, step),
            ]
        )
        self.now = step + 1
        decoder.cache.slide(self.now - live.window_steps + 1)
        if self.config.model.rotary:
            decoder.cache.carry_prompt()
        yields = decoder.sampling.yield_above if self._speaks else NEVER
        answer = yield from decoder.answer(self.now, budget, frames, yield_above=yields)
        return answer

    def output(
        self, inputs: Inputs, answer: Answer, sound_S: Tensor | None, seconds: float
    ) -> StepOutput:
        """What the step gave, from the answer and the sound of its frames (None: no frames)."""
        words, ended, done = "", False, False
        image: np.ndarray | None = None
        for modality, token in answer.text_image:
            if modality == Modality.TEXT:
                words += self._words.push(token)
                ended = ended or token == self.tokenizers.text.end_id
                continue
            self._picture.append(token)
            if len(self._picture) == self.config.image.num_tokens:
                image, done = self._preview(), True
                self._picture = []  # another may begin in this very step
        if self._picture and not done:  # of a picture under way every step makes some
            image = self._preview()
        images = sum(m == Modality.IMAGE for m, _ in answer.text_image)
        counts = {
            "text_in": len(inputs.text),
            "image_in": len(inputs.image),
            "audio_in": self.config.audio.frames_in(self.now - 1),
            "text_out": len(answer.text_image) - images,
            "image_out": images,
            "audio_out": len(answer.frames),
        }
        audio = self._play(sound_S)
        return StepOutput(
            self.now, audio, bool(answer.frames), words, ended, image, done, counts,
            answer.no_output, seconds, answer,
        )  # fmt: skip

    def _preview(self) -> np.ndarray:
        """uint8 [H, W, 3] of the codes so far."""
        picture_CHW = self.tokenizers.image.preview(self._picture)
        return to_pixels(picture_CHW[None])[0]

    def _decode(self, frames: list[np.ndarray]) -> Tensor | None:
        """The sound [S] of a step's frames; None of silence."""
        if not frames:
            self.voice = None
            return None
        codes_BTQ = torch.from_numpy(np.stack(frames)).long()[None]
        sound_BS, self.voice = self.tokenizers.audio.decode(codes_BTQ, self.voice)
        return sound_BS[0]

    def _play(self, sound_S: Tensor | None) -> np.ndarray:
        """float32 [6000] of a step: its frames' sound, or silence (None).

        Where a step holds no whole number of frames, an utterance begins one frame late, so that
        every step finds its 6,000 samples; what is left at its end plays in the next step.
        """
        if sound_S is None:
            sound, self._spare = self._spare, np.zeros(0, np.float32)
            self._speaks = False
            return np.pad(sound, (0, STEP_SAMPLES - len(sound)))
        if not self._speaks and STEP_SAMPLES % self.config.audio.hop:
            self._spare = np.zeros(self.config.audio.hop, np.float32)
        self._speaks = True
        sound = np.concatenate([self._spare, sound_S.cpu().numpy()])
        sound = np.pad(sound, (0, max(0, STEP_SAMPLES - len(sound))))  # ended inside the step
        self._spare = sound[STEP_SAMPLES:]
        return sound[:STEP_SAMPLES]
