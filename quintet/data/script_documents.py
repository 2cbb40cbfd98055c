"""Scripts to be written, in turn mode: an order that names things, and a script that has them.

What a model learns here makes it a writer of scenes (`world.writers.ModelWriter`), as the reference
makes its data: the base model after `instruct` writes what `realtime` learns from.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quintet.data.documents import DocumentMaker
from quintet.data.turn_rows import TURN_TIME
from quintet.data.world.script import Script
from quintet.data.world.writers import MAX_TOKENS, GrammarWriter, order, things_of
from quintet.timeline.streams import Stream
from quintet.timeline.targets import Sample, turn_sample
from quintet.timeline.timeline import Timeline
from quintet.tokenizers.text import TextTokenizer

SEEDS = 1 << 30  # from here on; scenes of seeds below half of it are staged from lower ones


def training_scripts(text: TextTokenizer, count: int, seed: int) -> Iterator[Script]:
    """Scripts of the wide grammar, none longer than what is written at once."""
    rng, writer = np.random.default_rng((seed, 18)), GrammarWriter()
    while count:
        script = writer.write(SEEDS + int(rng.integers(SEEDS)))
        if len(text.encode(script.write())) < MAX_TOKENS:
            count -= 1
            yield script


def script_samples(maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
    """Such scripts, each after an order that names its things."""
    samples, text, config = list[Sample](), maker.tokenizers.text, maker.config
    for script in training_scripts(text, count, seed):
        ids = [*text.encode(script.write()), text.end_id]
        asked = [*text.encode(order(things_of(script))), text.end_id]
        timeline = Timeline(config.audio.num_codebooks, config.text.vocab_size)
        timeline.add_text(Stream.TEXT_IN, asked, TURN_TIME)
        timeline.add_text(Stream.TEXT_OUT, ids, TURN_TIME)
        samples.append(turn_sample(timeline.turns(), maker.vocabulary))
    return samples
