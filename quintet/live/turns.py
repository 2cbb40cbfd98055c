"""Turn mode: the same model and rows without a clock, a message after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from quintet.config import STEP_SAMPLES, UserError
from quintet.live.decoder import Answer, TipDecoder
from quintet.live.inputs import as_picture, as_sound, spoken_part, spoken_spans
from quintet.live.sampling import Sampling
from quintet.live.session import Words
from quintet.media.images import fit_image
from quintet.model.cache import KVCache
from quintet.model.omni import Omni
from quintet.timeline.rows import Rows, single_column
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.timeline import speaker_rows
from quintet.tokenizers.bundle import Tokenizers
from quintet.tokenizers.image import to_pixels

MAX_ROWS = 2_048  # of a conversation
MAX_ANSWER_ROWS = 256
MAX_ANSWER_FRAMES = 240
PIECE = 2 * STEP_SAMPLES  # of sound that is encoded at once, in some 20 ms
ROLES = ("user", "assistant")

Part = str | np.ndarray | Image.Image  # words, sound (float32 [S]), or a picture


@dataclass(frozen=True)
class TurnReply:
    """An answer in turn mode: words, finished pictures, and sound (float32 [samples]), with the
    codes that it was decoded from (int [T, Q])."""

    text: str
    images: list[np.ndarray]
    audio: np.ndarray
    counts: dict[str, int] = field(default_factory=dict)  # rows: text_in, audio_in, ..._out
    codes: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))


class _Conversation:
    """Feeds messages to a decoder. Time is constant, but for sound, whose time is its position."""

    def __init__(
        self,
        model: Omni,
        tokenizers: Tokenizers,
        sampling: Sampling,
        seed: int,
        speaker: np.ndarray | None = None,
        pause: Callable[[], None] | None = None,
    ) -> None:
        self.config, self.tokenizers = model.config, tokenizers
        self.pause = pause or (lambda: None)  # before a part, a piece of its sound, a row
        cache = KVCache(model.config.model, MAX_ROWS, device=model.device)
        self.decoder = TipDecoder(model, tokenizers.text, sampling, seed, cache)
        self.counts: Counter[str] = Counter()  # rows by kind, as in `TurnReply`
        if speaker is not None:
            self.decoder.extend(speaker_rows(speaker, self.config.audio))

    def _entries(self, stream: Stream, modality: Modality, ids: Sequence[int]) -> None:
        self._make_room(len(ids))
        tokens = single_column(np.array(ids, np.int32), self.config.audio.num_codebooks)
        self.decoder.append(stream, modality, tokens, step=0)
        self.counts[f"{modality.name.lower()}_in"] += len(ids)

    def _make_room(self, rows: int) -> None:
        """Refuse what would leave no place for the answer."""
        if self.decoder.cache.length + rows > MAX_ROWS - MAX_ANSWER_ROWS - MAX_ANSWER_FRAMES:
            raise UserError(
                "The conversation is too long for this model; shorten it, or start a new one."
            )

    def add(self, role: str, part: Part) -> None:
        """Append one part of a message."""
        self.pause()
        is_user, text = role == "user", self.tokenizers.text
        words = Stream.TEXT_IN if is_user else Stream.TEXT_OUT
        if isinstance(part, str):
            self._entries(words, Modality.TEXT, [*text.encode(part), text.end_id])
        elif _is_picture(part):
            picture = Image.fromarray(as_picture(part))
            codes = self.tokenizers.encode_image(fit_image(picture, self.config.image.size))
            self._entries(words, Modality.TEXT, [text.image_id])
            offset = self.config.text.vocab_size
            self._entries(words, Modality.IMAGE, (codes + offset).tolist())
        else:
            sound = spoken_part(as_sound(part)) if is_user else as_sound(part)
            self._add_sound(Stream.AUDIO_IN if is_user else Stream.AUDIO_OUT, sound)

    def _add_sound(self, stream: Stream, sound: np.ndarray) -> None:
        if not len(sound):
            raise UserError("A message holds a sound of no length; leave it out.")
        padded = np.pad(sound, (0, -len(sound) % STEP_SAMPLES))
        codes, audio, step = self._codes_of(padded), self.config.audio, 0
        self._make_room(len(codes))
        self.counts["audio_in"] += len(codes)
        while audio.frames_before(step) < len(codes):
            self.pause()
            frames = codes[audio.frames_before(step) : audio.frames_before(step + 1)]
            self.decoder.append(stream, Modality.AUDIO, frames, step)
            step += 1

    def _codes_of(self, sound_S: np.ndarray) -> np.ndarray:
        """Codes [T, Q], made piece by piece: the whole may be half a minute."""
        pieces, state = list[Tensor](), None
        for start in range(0, len(sound_S), PIECE):
            self.pause()
            piece_BS = torch.from_numpy(sound_S[None, start : start + PIECE])
            codes_BTQ, state = self.tokenizers.audio.encode(piece_BS, state)
            pieces.append(codes_BTQ[0])
        return torch.cat(pieces).numpy().astype(np.int32)

    def answer(
        self,
        rows: int = MAX_ANSWER_ROWS,
        frames: int = MAX_ANSWER_FRAMES,
        words: Stream = Stream.TEXT_OUT,
        tell: Callable[[str], None] | None = None,
    ) -> TurnReply:
        """Ask both heads until each says `No Output`, for at most so many rows and frames; `tell`
        gets words as they come."""
        decoder, written = self.decoder, Words(self.tokenizers)

        def watch(made: Rows) -> None:
            self.pause()
            is_text = made.modality[0] == Modality.TEXT
            if tell and is_text and (text := written.push(int(made.tokens[0, 0]))):
                tell(text)

        rounds = decoder.answer(0, rows, frames, self.config.audio.step_of, words)
        answer = decoder.run(rounds, watch)
        images = sum(modality == Modality.IMAGE for modality, _ in answer.text_image)
        self.counts.update(
            text_out=len(answer.text_image) - images, image_out=images,
            audio_out=len(answer.frames),
        )  # fmt: skip
        said, pictures = self._words_and_pictures(answer)
        codes_TQ = np.array(answer.frames, np.int64).reshape(-1, self.config.audio.num_codebooks)
        return TurnReply(said, pictures, self._sound(codes_TQ), dict(self.counts), codes_TQ)

    def _words_and_pictures(self, answer: Answer) -> tuple[str, list[np.ndarray]]:
        text = self.tokenizers.text
        words = text.decode(token for m, token in answer.text_image if m == Modality.TEXT)
        codes = [token for m, token in answer.text_image if m == Modality.IMAGE]
        size, images = self.config.image.num_tokens, []
        for start in range(0, len(codes) - size + 1, size):
            picture_CHW = self.tokenizers.image.preview(codes[start : start + size])
            images.append(to_pixels(picture_CHW[None])[0])
        return words, images

    def _sound(self, codes_TQ: np.ndarray) -> np.ndarray:
        if not len(codes_TQ):
            return np.zeros(0, np.float32)
        return self.tokenizers.audio.decode(torch.from_numpy(codes_TQ)[None])[0][0].numpy()


@torch.no_grad()
def chat(
    model: Omni,
    tokenizers: Tokenizers,
    messages: Sequence[dict[str, object]],
    sampling: Sampling,
    seed: int,
    tell: Callable[[str], None] | None = None,
    pause: Callable[[], None] | None = None,
    speaker: np.ndarray | None = None,
) -> TurnReply:
    """Answer the last of `messages`: {"role": "user" or "assistant", "content": text or parts}.

    `tell` is given the words of the answer one after another, while it is being made. `pause` is
    called before each part that is read, each half second and step of a sound, and each row that is
    written: it may wait, so that others have the processor. `speaker` is codes [N, Q] of the voice
    to answer in.

    Of the user's messages pictures are read before words and words before sounds, as training has
    them: a question after the picture that it is of, an order before the sound that it is for. A
    sound is heard without the silence around its words. A model that answers the whole conversation
    with silence is asked the last message alone: small ones are trained on single turns, and an
    earlier answer without its sound is foreign.

    Raises:
        UserError: no message, an unknown role, an empty message, a picture about which nothing is
            asked, or too long a conversation.
    """
    if not messages or messages[-1].get("role") != "user":
        raise UserError("The last message must be the user's; add one with role 'user'.")
    read = [_checked(message) for message in messages]
    if not any(_asks(part) for part in read[-1][1]):
        raise UserError(
            "A picture alone asks nothing; write or say with it what you want to know, such as: "
            "what is this?"
        )

    def asked(heard: list[tuple[str, list[Part]]]) -> TurnReply:
        conversation = _Conversation(model, tokenizers, sampling, seed, speaker, pause)
        for role, parts in heard:
            for part in parts:
                conversation.add(role, part)
        return conversation.answer(tell=tell)

    reply = asked(read)
    is_silent = not (reply.text or reply.images or len(reply.audio))
    return asked(read[-1:]) if is_silent and len(read) > 1 else reply


def _checked(message: dict[str, object]) -> tuple[str, list[Part]]:
    """The role and the parts of a message, the user's in the order that they are read in.

    Raises:
        UserError: it has another role, nothing, or something that is no part.
    """
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise UserError(f"A message has role {role!r}; use one of: {', '.join(ROLES)}.")
    parts: list[Any] = list(content) if isinstance(content, list | tuple) else [content]
    if all(isinstance(p, str) and not p.strip() for p in parts):
        raise UserError("A message is empty; write something in it.")
    if not all(isinstance(p, str | np.ndarray | Image.Image) for p in parts):
        raise UserError(
            "A message holds something that is not a text, a sound or a picture; "
            "give strings, arrays of samples, or pictures."
        )
    return str(role), sorted(parts, key=_reading_order) if role == "user" else parts


def _reading_order(part: Part) -> int:
    """What is shown, words, and speech; silence is nothing to wait for after words."""
    if isinstance(part, str):
        return 1
    return 0 if _is_picture(part) or not spoken_spans(as_sound(part)) else 2


def _asks(part: Part) -> bool:
    """Whether words or a sound stand in it."""
    return bool(part.strip()) if isinstance(part, str) else not _is_picture(part)


def _is_picture(part: Image.Image | np.ndarray) -> bool:
    return isinstance(part, Image.Image) or part.ndim == 3


@torch.no_grad()
def answer_rows(
    model: Omni, tokenizers: Tokenizers, request: Rows, rows: int, frames: int, seed: int = 0
) -> TurnReply:
    """Answer a request that is rows already, as training has it, by at most so many rows and
    frames; frames=0 goes on writing where a document that was read stops."""
    conversation = _Conversation(model, tokenizers, Sampling(), seed)
    conversation.decoder.read(request)
    words = Stream.TEXT_OUT if frames else Stream.TEXT_IN
    return conversation.answer(rows, frames, words)
