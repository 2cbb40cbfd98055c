"""Documents without a clock, for the stages before real time.

Interleaved text and pictures, spoken lines, and conversations; all from the synthetic world.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from quintet.config import STEP_SAMPLES, OmniConfig
from quintet.data.reasoning import ReasoningMaker, Split, world_problem
from quintet.data.turn_rows import TURN_TIME, add_picture, add_speech
from quintet.data.world.grammar import (
    ABOUT_A_PICTURE,
    KINDS,
    Request,
    as_dashed_off,
    how_many,
    request,
)
from quintet.data.world.microphone import noise
from quintet.data.world.pictures import canonical_picture, picture_of_several, render_picture
from quintet.data.world.scenes import PICTURE_SIZE, assistant_speech
from quintet.data.world.speakers import Speaker, draw_speaker
from quintet.data.world.things import THINGS, Thing, with_article
from quintet.media.images import fit_image
from quintet.media.speech import ASSISTANT_VOICE, Voice, random_voice, synthesize
from quintet.timeline.rows import Rows
from quintet.timeline.streams import Stream
from quintet.timeline.targets import Sample, Vocabulary, next_row_sample, turn_sample
from quintet.timeline.timeline import Timeline
from quintet.tokenizers.bundle import Tokenizers

CAPTIONS = ("This is {a}.", "Here is {a}.", "{A}.", "I see {a}.", "A picture of {a}.", "{a}")
TRANSCRIBE = ("write down what you hear.", "what am I saying?", "transcribe this.")
AUDIO_LEVELS = (0.1, 0.9)  # peak of a spoken request
NOISE_BELOW = (20, 60)  # dB below that peak
SPOKEN_SHARE = 0.5  # of the requests in conversations
ASKED = tuple(kind for kind in KINDS if kind != "chatter")  # kinds of requests with an answer


@dataclass(frozen=True)
class Material:
    """Encoded once, used by many documents: pictures by thing."""

    seen: dict[str, list[np.ndarray]]  # codes [G * G] of pictures as a camera sees them
    drawn: dict[str, np.ndarray]  # codes [G * G] of pictures as the assistant draws them

    @classmethod
    def make(cls, config: OmniConfig, tokenizers: Tokenizers, each: int, seed: int) -> Material:
        """`each` pictures of every thing."""
        rng, size = np.random.default_rng((seed, 3)), config.image.size
        seen, drawn = {}, {}
        for thing in THINGS:
            pictures = [render_picture(thing, rng, "train", size) for _ in range(each)]
            seen[thing.name] = [tokenizers.encode_image(picture) for picture in pictures]
            drawn[thing.name] = tokenizers.encode_image(canonical_picture(thing, size))
        return cls(seen, drawn)


class DocumentMaker:
    """Makes samples of each kind; every method is a pure function of its generator."""

    def __init__(self, config: OmniConfig, tokenizers: Tokenizers, material: Material) -> None:
        self.config, self.tokenizers, self.material = config, tokenizers, material
        self.vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
        self._answers: dict[str, np.ndarray] = {}

    def _timeline(self) -> Timeline:
        return Timeline(self.config.audio.num_codebooks, self.config.text.vocab_size)

    def _picture(self, thing: Thing, rng: np.random.Generator) -> np.ndarray:
        pictures = self.material.seen[thing.name]
        return pictures[int(rng.integers(len(pictures)))]

    def interleaved(self, rng: np.random.Generator, parts: int = 3) -> Rows:
        """Paragraphs and pictures in turn, as on a web page; flag 0, time constant."""
        timeline, text = self._timeline(), self.tokenizers.text
        for _ in range(parts):
            thing = THINGS[int(rng.integers(len(THINGS)))]
            a = with_article(thing.name)
            caption = CAPTIONS[int(rng.integers(len(CAPTIONS)))]
            words = caption.format(a=a, A=a.capitalize())
            drawn = rng.random() < 0.5
            picture = self.material.drawn[thing.name] if drawn else self._picture(thing, rng)
            ids = [*text.encode(words), text.end_id]
            if rng.random() < 0.5:
                timeline.add_text(Stream.TEXT_IN, ids, TURN_TIME)
                self._add_picture(timeline, picture)
            else:
                self._add_picture(timeline, picture)
                timeline.add_text(Stream.TEXT_IN, ids, TURN_TIME)
        return timeline.turns()

    def _add_picture(self, timeline: Timeline, picture: np.ndarray) -> None:
        add_picture(timeline, picture, self.tokenizers.text.image_id)

    def sentences(self, rng: np.random.Generator, count: int = 8) -> Rows:
        """Plain text, a line after another."""
        timeline, text = self._timeline(), self.tokenizers.text
        for _ in range(count):
            said = request(str(rng.choice(KINDS)), rng)
            for line in filter(None, (said.text, said.reply)):
                timeline.add_text(Stream.TEXT_IN, [*text.encode(line), text.end_id], TURN_TIME)
        return timeline.turns()

    def speech_of(self, text: str, rng: np.random.Generator) -> np.ndarray:
        """Codes [T, Q] of a line in a random user's voice, after up to a step of silence."""
        sound = synthesize(text, random_voice(rng, "train"))
        sound = sound * np.float32(rng.uniform(*AUDIO_LEVELS) / max(0.05, np.abs(sound).max()))
        lead = int(rng.integers(STEP_SAMPLES))
        tail = STEP_SAMPLES + (-(lead + len(sound)) % STEP_SAMPLES)
        sound = np.pad(sound, (lead, tail))
        level = np.float32(np.abs(sound).max() * 10 ** (-rng.uniform(*NOISE_BELOW) / 20))
        return self.tokenizers.encode_audio(sound + level * noise(rng, len(sound)))

    def _add_speech(self, timeline: Timeline, stream: Stream, codes: np.ndarray) -> None:
        add_speech(timeline, stream, codes, self.config.audio)

    def spoken(self, rng: np.random.Generator) -> Rows:
        """One spoken line: a user's, or an answer in the assistant's voice."""
        timeline, said = self._timeline(), request(str(rng.choice(KINDS)), rng)
        if said.reply and rng.random() < 0.5:
            codes = self._answer_codes(said.reply)
        else:
            codes = self.speech_of(said.text, rng)
        self._add_speech(timeline, Stream.AUDIO_IN, codes)
        return timeline.turns()

    def _answer_codes(self, text: str, voice: Voice = ASSISTANT_VOICE) -> np.ndarray:
        """Codes [T, Q], kept of the assistant's own voice: in others, few lines come again."""
        if text in self._answers and voice == ASSISTANT_VOICE:
            return self._answers[text]
        sound = assistant_speech(text, voice)
        codes = self.tokenizers.encode_audio(np.pad(sound, (0, -len(sound) % STEP_SAMPLES)))
        if voice == ASSISTANT_VOICE:
            self._answers[text] = codes
        return codes

    def conversation(self, rng: np.random.Generator, speaker: Speaker | None = None) -> Sample:
        """A request, written or spoken, with a picture where it needs one, and its answer."""
        said = request(str(rng.choice(ASKED)), rng)
        return self.answered(self.question(said, rng, speaker), said, speaker)

    def question(
        self, said: Request, rng: np.random.Generator, speaker: Speaker | None = None
    ) -> Timeline:
        """A conversation up to its answer."""
        timeline, text = self._timeline(), self.tokenizers.text
        if speaker is not None:
            timeline.add_speaker(self.tokenizers.encode_audio(speaker.sound), self.config.audio)
        if said.kind in ABOUT_A_PICTURE and said.thing:
            self._add_picture(timeline, self._picture(said.thing, rng))
        if rng.random() < SPOKEN_SHARE:
            self._add_speech(timeline, Stream.AUDIO_IN, self.speech_of(said.text, rng))
        else:
            ids = [*text.encode(as_dashed_off(said.text, rng)), text.end_id]
            timeline.add_text(Stream.TEXT_IN, ids, TURN_TIME)
        return timeline

    def answered(self, question: Timeline, said: Request, speaker: Speaker | None = None) -> Sample:
        """A conversation to its end, with the answer to `said`; `question` stays as it is."""
        timeline = copy.deepcopy(question)
        self._add_answer(timeline, said, speaker.voice if speaker else ASSISTANT_VOICE)
        return turn_sample(timeline.turns(), self.vocabulary)

    def transcription(self, rng: np.random.Generator) -> Sample:
        """A spoken line between a written order and its transcript: hearing, word for word."""
        timeline, text = self._timeline(), self.tokenizers.text
        said = request(str(rng.choice(KINDS)), rng)
        order = TRANSCRIBE[int(rng.integers(len(TRANSCRIBE)))]
        timeline.add_text(Stream.TEXT_IN, [*text.encode(order), text.end_id], TURN_TIME)
        self._add_speech(timeline, Stream.AUDIO_IN, self.speech_of(said.text, rng))
        timeline.add_text(Stream.TEXT_OUT, [*text.encode(said.text), text.end_id], TURN_TIME)
        return turn_sample(timeline.turns(), self.vocabulary)

    def description(self, rng: np.random.Generator) -> Sample:
        """A picture as the camera sees it, a typed question, and what it is, or if it is that."""
        said = request(str(rng.choice(ABOUT_A_PICTURE)), rng)
        assert said.thing is not None
        return self._told(said, render_picture(said.thing, rng, "train", PICTURE_SIZE), rng)

    def counting(self, rng: np.random.Generator) -> Sample:
        """A picture of some of a thing, a typed question, and how many they are."""
        said = how_many(rng)
        assert said.thing is not None
        pixels, _ = picture_of_several(said.thing, said.count, rng, "train", PICTURE_SIZE)
        return self._told(said, pixels, rng)

    def _told(self, said: Request, pixels: np.ndarray, rng: np.random.Generator) -> Sample:
        """A picture, a typed question about it, and the written answer."""
        picture = fit_image(Image.fromarray(pixels), self.config.image.size)
        timeline, text = self._timeline(), self.tokenizers.text
        timeline.add_image(Stream.IMAGE_IN, self.tokenizers.encode_image(picture), TURN_TIME)
        asked = as_dashed_off(said.text, rng)
        timeline.add_text(Stream.TEXT_IN, [*text.encode(asked), text.end_id], TURN_TIME)
        timeline.add_text(Stream.TEXT_OUT, [*text.encode(said.reply), text.end_id], TURN_TIME)
        return turn_sample(timeline.turns(), self.vocabulary)

    def _add_answer(self, timeline: Timeline, said: Request, voice: Voice) -> None:
        text = self.tokenizers.text
        timeline.add_text(Stream.TEXT_OUT, text.encode(said.reply), TURN_TIME)
        if said.kind == "draw" and said.thing:
            timeline.add_text(Stream.TEXT_OUT, [text.image_id], TURN_TIME)
            timeline.add_image(Stream.TEXT_OUT, self.material.drawn[said.thing.name], TURN_TIME)
        timeline.add_text(Stream.TEXT_OUT, [text.end_id], TURN_TIME)
        self._add_speech(timeline, Stream.AUDIO_OUT, self._answer_codes(said.reply, voice))


def pretrain_samples(maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
    """Interleaved documents: next-row prediction on text and pictures, the audio head unasked."""
    rng = np.random.default_rng((seed, 10))
    rows = [maker.interleaved(rng) if index % 5 else maker.sentences(rng) for index in range(count)]
    return [next_row_sample(table, maker.vocabulary) for table in rows]


def audio_samples(maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
    """Spoken lines: next-row prediction on audio."""
    rng = np.random.default_rng((seed, 11))
    return [next_row_sample(maker.spoken(rng), maker.vocabulary) for _ in range(count)]


def unfrozen_samples(maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
    """All modalities, unmixed; the head that a sample does not use learns `No Output`."""
    rng = np.random.default_rng((seed, 12))
    makers = (maker.interleaved, maker.sentences, maker.spoken, maker.spoken)
    rows = [makers[index % len(makers)](rng) for index in range(count)]
    return [next_row_sample(table, maker.vocabulary, both_heads=True) for table in rows]


def instruct_samples(maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
    """Conversations in turn mode: flag 1 on the answers, loss there only."""
    rng = np.random.default_rng((seed, 13))
    return [maker.conversation(rng) for _ in range(count)]


def speaker_samples(maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
    """The same, answered in the voice of a speaker who is heard first."""
    rng = np.random.default_rng((seed, 17))
    return [
        maker.conversation(rng, draw_speaker(int(rng.integers(1 << 31)), "train", ()))
        for _ in range(count)
    ]


def transcribe_samples(maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
    """Spoken lines to be written down, in turn mode."""
    rng = np.random.default_rng((seed, 14))
    return [maker.transcription(rng) for _ in range(count)]


def describe_samples(maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
    """Pictures to be named, or told from others, in turn mode."""
    rng = np.random.default_rng((seed, 15))
    return [maker.description(rng) for _ in range(count)]


def counting_samples(maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
    """Pictures whose things are to be counted, in turn mode."""
    rng = np.random.default_rng((seed, 19))
    return [maker.counting(rng) for _ in range(count)]


def reasoning_samples(
    maker: DocumentMaker, count: int, seed: int, split: Split = "train"
) -> list[Sample]:
    """Typed questions of counting and spelling, with the reasoning before the answer. What is
    asked in one split is not asked in the other."""
    rng = np.random.default_rng((seed, 16))
    reasoning = ReasoningMaker(
        maker.tokenizers.text, maker.config.audio.num_codebooks, maker.vocabulary
    )
    samples = []
    for _ in range(count):
        problem = world_problem(rng, split)
        asked = as_dashed_off(problem.question, rng)
        samples.append(reasoning.sample(replace(problem, question=asked)))
    return samples
