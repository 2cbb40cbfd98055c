"""Scripts to be written, in turn mode: an order that names things, and a script that has them.

What a model learns here makes it a writer of scenes (`world.writers.ModelWriter`), as the reference
makes its data: the base model after `instruct` writes what `realtime` learns from.
"""

from __future__ import annotations

import numpy as np

from quintet.data.documents import DocumentMaker
from quintet.data.turn_rows import TURN_TIME
from quintet.data.world.writers import MAX_TOKENS, GrammarWriter, order, things_of
from quintet.timeline.streams import Stream
from quintet.timeline.targets import Sample, turn_sample
from quintet.timeline.timeline import Timeline

SEEDS = 1 << 30  # from here on; those of scripts that scenes are staged from lie below


def script_samples(maker: DocumentMaker, count: int, seed: int) -> list[Sample]:
    """Orders and scripts of the wide grammar, none longer than what is written at once."""
    rng, writer, samples = np.random.default_rng((seed, 18)), GrammarWriter(), list[Sample]()
    text, config = maker.tokenizers.text, maker.config
    while len(samples) < count:
        script = writer.write(SEEDS + int(rng.integers(SEEDS)))
        ids = [*text.encode(script.write()), text.end_id]
        if len(ids) > MAX_TOKENS:
            continue
        asked = [*text.encode(order(things_of(script))), text.end_id]
        timeline = Timeline(config.audio.num_codebooks, config.text.vocab_size)
        timeline.add_text(Stream.TEXT_IN, asked, TURN_TIME)
        timeline.add_text(Stream.TEXT_OUT, ids, TURN_TIME)
        samples.append(turn_sample(timeline.turns(), maker.vocabulary))
    return samples
