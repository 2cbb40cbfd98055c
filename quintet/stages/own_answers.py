"""Own answers: what a model says to the same request time after time, and what it says best.

Of several answers to one request in turn mode, the one is chosen that sounds most like its words in
the voice that it should have, and the one rejected that sounds least so: espeak-ng says the words
in that voice, and what was said is laid over it (`quintet.evals.voice_likeness`). The words of both
are the same, and right. The stage `prefer` takes such pairs with its setting `pairs`: as they are
the model's own, it learns from what it really does wrong.

Every shard is a pure function of the seed and its number, as those of `documents`.
"""

from __future__ import annotations

import copy
from typing import Annotated

import numpy as np
import torch

from quintet.config import STEPS_PER_SECOND
from quintet.data.documents import DocumentMaker, Material
from quintet.data.preferences import Pair, pairs_of
from quintet.data.shards import load_samples, save_samples
from quintet.data.turn_rows import TURN_TIME, add_speech
from quintet.data.world.grammar import Request, request
from quintet.data.world.scenes import assistant_speech
from quintet.data.world.speakers import draw_speaker
from quintet.evals.voice_likeness import spectral_distance
from quintet.live.turns import TurnReply, answer_rows
from quintet.media.speech import ASSISTANT_VOICE
from quintet.model.omni import Omni
from quintet.settings import Count, Positive, Range, Seed, Share
from quintet.stages.context import SCORES, Context
from quintet.stages.documents import PREFERENCES, check_preset, in_processes, shard_path
from quintet.stages.omni_task import tokenizers_of
from quintet.timeline.streams import Stream
from quintet.timeline.targets import Sample, turn_sample
from quintet.timeline.timeline import Timeline
from quintet.tokenizers.weight_files import check_weights, load_weights

SETTINGS = {
    "start_from": str, "seed": Seed, "requests": Count, "answers_each": Annotated[int, Range(2)],
    "least_gap": Positive, "own_voice": Share, "processes": Count,
}  # fmt: skip
START = "realtime"  # unless the setting `start_from` names another stage
KINDS = ("say", "count", "greet", "repeat")  # of requests: those that are answered by voice alone
REQUESTS, SHARD = 2_000, 100  # in all, and of a shard; some of them give a pair
ANSWERS_EACH, LEAST_GAP, OWN_VOICE = 4, 0.4, 0.2  # unless set; the gap in decibels
WORDS, SECONDS = 64, 12  # of an answer


def requests_of(context: Context) -> int:
    """How many there are, of which each may give a pair."""
    return int(context.settings.get("requests", REQUESTS))


class _Worker:
    """Makes shards in one process; the model is loaded once."""

    def __init__(self, context: Context) -> None:
        torch.set_num_threads(1)
        settings, preset = context.settings, context.preset
        self.context, self.seed = context, settings.get("seed", 0)
        self.requests = requests_of(context)
        self.each = settings.get("answers_each", ANSWERS_EACH)
        self.least_gap = settings.get("least_gap", LEAST_GAP)
        self.own_voice = settings.get("own_voice", OWN_VOICE)
        self.model = Omni(preset)
        load_weights(self.model, context.start(START))
        self.model.eval()
        self.tokenizers = tokenizers_of(context)
        self.maker = DocumentMaker(preset, self.tokenizers, Material({}, {}))

    def make(self, shard: int) -> None:
        path = shard_path(self.context.folder, PREFERENCES, shard)
        if path.exists():
            return
        samples: list[Sample] = []
        for index in range(min(SHARD, self.requests - shard * SHARD)):
            pair = self.pair(np.random.default_rng((self.seed, 20, shard, index)))
            samples += [] if pair is None else [pair.chosen, pair.rejected]
        save_samples(path, samples)

    def pair(self, rng: np.random.Generator) -> Pair | None:
        """Two answers to one request, far enough apart; None where there are none."""
        said = request(str(rng.choice(KINDS)), rng)
        is_own = rng.random() < self.own_voice
        speaker = None if is_own else draw_speaker(int(rng.integers(1 << 31)), "train", ())
        question = self.maker.question(said, rng, speaker)
        meant = assistant_speech(said.reply, speaker.voice if speaker else ASSISTANT_VOICE)
        ranked = sorted(
            (spectral_distance(reply.audio, meant), index, reply.codes)
            for index, reply in enumerate(self._right_answers(question, said, rng))
        )
        if not ranked or ranked[-1][0] - ranked[0][0] < self.least_gap:
            return None
        best, worst = (self._sample(question, said, codes) for *_, codes in (ranked[0], ranked[-1]))
        return Pair(best, worst)

    def _right_answers(
        self, question: Timeline, said: Request, rng: np.random.Generator
    ) -> list[TurnReply]:
        """Those that end by themselves; none if the words, which are always the likeliest, are
        not right."""
        rows, audio = question.turns(), self.context.preset.audio
        frames = round(SECONDS * STEPS_PER_SECOND * audio.frames_per_step)
        answers = []
        for seed in rng.integers(1 << 31, size=self.each).tolist():
            reply = answer_rows(self.model, self.tokenizers, rows, WORDS, frames, seed)
            if reply.text != said.reply or reply.counts["image_out"]:
                return []
            answers.append(reply)
        return [reply for reply in answers if 0 < len(reply.codes) < frames]

    def _sample(self, question: Timeline, said: Request, codes_TQ: np.ndarray) -> Sample:
        timeline, text = copy.deepcopy(question), self.tokenizers.text
        written = [*text.encode(said.reply), text.end_id]
        timeline.add_text(Stream.TEXT_OUT, written, TURN_TIME)
        add_speech(timeline, Stream.AUDIO_OUT, codes_TQ, self.context.preset.audio)
        return turn_sample(timeline.turns(), self.maker.vocabulary)


_worker: _Worker


def _start(context: Context) -> None:
    global _worker
    _worker = _Worker(context)


def _make(shard: int) -> None:
    _worker.make(shard)


def run(context: Context) -> dict[str, float]:
    """Make the shards that are not there yet."""
    shards = range(-(-requests_of(context) // SHARD))
    paths = [shard_path(context.folder, PREFERENCES, shard) for shard in shards]
    missing = [shard for shard in shards if not paths[shard].exists()]
    if missing:
        with torch.device("meta"):  # what is not there, or damaged, is told here
            check_weights(Omni(context.preset), context.start(START))
        tokenizers_of(context)
        in_processes(context, missing, _start, _make)
    return {"pairs": float(sum(len(load_samples(path)) for path in paths) // 2)}


def own_pairs(context: Context) -> list[Pair]:
    """Those of the stage that the setting `pairs` names, in order.

    Raises:
        UserError: it has not come to its end, or the preset is another.
    """
    folder = context.made_by(context.settings["pairs"], SCORES).parent / PREFERENCES
    samples = [
        sample for path in sorted(folder.glob("*.safetensors")) for sample in load_samples(path)
    ]
    check_preset(context, samples, folder)
    return pairs_of(samples)
