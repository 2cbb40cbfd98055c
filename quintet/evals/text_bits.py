"""Reading and writing in numbers: how well text is predicted, in bits a byte.

Three kinds, none of them spoken: sentences such as the model was trained on, ordinary English that
it never was, and answers to typed questions, given these. Eight bits a byte is what a file costs
that nobody can predict.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from quintet.data.turn_rows import TURN_TIME
from quintet.data.world.grammar import as_typed, request
from quintet.data.world.wide_words import SENTENCES
from quintet.evals.scores import Score, ratio
from quintet.live import Quintet
from quintet.model.heads import log_probs_of
from quintet.model.omni import Batch
from quintet.timeline.streams import Stream
from quintet.timeline.targets import Sample, Vocabulary, next_row_sample, turn_sample
from quintet.timeline.timeline import Timeline

SAMPLES = 100  # of each kind
LINES = 8  # of a document
TYPED = ("say", "repeat", "count", "greet", "draw")  # what needs nothing but words

Made = tuple[Sample, str]  # rows with their targets, and the text that they tell


class TextMaker:
    """Rows of text alone; every method is a pure function of its generator."""

    def __init__(self, model: Quintet) -> None:
        self.text, config = model.tokenizers.text, model.config
        self.vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
        self.num_codebooks, self.words = config.audio.num_codebooks, config.text.vocab_size

    def _timeline(self) -> Timeline:
        return Timeline(self.num_codebooks, self.words)

    def document(self, lines: list[str]) -> Made:
        """Lines one after another; all but the first entry are predicted."""
        timeline = self._timeline()
        for line in lines:
            ids = [*self.text.encode(line), self.text.end_id]
            timeline.add_text(Stream.TEXT_IN, ids, TURN_TIME)
        return next_row_sample(timeline.turns(), self.vocabulary), "".join(lines)

    def world(self, rng: np.random.Generator) -> Made:
        return self.document([request(str(kind), rng).text for kind in rng.choice(TYPED, LINES)])

    def english(self, rng: np.random.Generator) -> Made:
        return self.document([str(line) for line in rng.choice(SENTENCES, LINES, replace=False)])

    def answer(self, rng: np.random.Generator) -> Made:
        """An answer, of which every entry is predicted."""
        asked = request(str(rng.choice(TYPED)), rng)
        timeline = self._timeline()
        question = [*self.text.encode(as_typed(asked.text, rng)), self.text.end_id]
        timeline.add_text(Stream.TEXT_IN, question, TURN_TIME)
        timeline.add_text(Stream.TEXT_OUT, self.text.encode(asked.reply), TURN_TIME)
        return turn_sample(timeline.turns(), self.vocabulary), asked.reply


@torch.no_grad()
def _bits(model: Quintet, sample: Sample) -> float:
    """Of the sample's words, whatever else its heads are asked."""
    batch = Batch.from_samples([sample])
    hidden_ND = model.model.hidden(batch)[batch.text_at]
    nats_N = -log_probs_of(model.model.text_image_head(hidden_ND), batch.text_target)
    return float(nats_N[batch.text_target < model.config.text.vocab_size].sum()) / math.log(2)


def bits_per_byte(model: Quintet, seed: int) -> dict[str, Score]:
    """The three kinds, by name."""
    maker = TextMaker(model)
    kinds: dict[str, Callable[[np.random.Generator], Made]] = {
        "of_world_text": maker.world,
        "of_unseen_english": maker.english,
        "of_typed_answers": maker.answer,
    }
    scores = {}
    for number, (name, make) in enumerate(kinds.items()):
        rng = np.random.default_rng((seed, 32, number))
        made = [make(rng) for _ in range(SAMPLES)]
        pairs = [(_bits(model, sample), float(len(text.encode()))) for sample, text in made]
        scores[f"bits_per_byte_{name}"] = ratio(pairs, chance=8.0)
    return scores
