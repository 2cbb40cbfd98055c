"""The text tokenizer's stage: SentencePiece learns the world's sentences, or takes characters."""

from __future__ import annotations

import numpy as np

from quintet.data.world.grammar import KINDS, as_dashed_off, request
from quintet.settings import Count, Seed
from quintet.stages.context import Context
from quintet.tokenizers.folders import TEXT_FILE
from quintet.tokenizers.text import TextTokenizer
from quintet.train.exports import export

SETTINGS = {"lines": Count, "seed": Seed, "characters": str}


def world_lines(count: int, seed: int) -> list[str]:
    """Requests and answers of every kind, these as they are spoken and those as they are typed."""
    rng = np.random.default_rng(seed)
    lines = []
    for index in range(count):
        said = request(KINDS[index % len(KINDS)], rng)
        lines += [line for line in (as_dashed_off(said.text, rng), said.reply) if line]
    return lines


def _lines(context: Context, held_out: bool = False) -> list[str]:
    """What it learns from, or what it is measured on: some of these training had too. Each of the
    `characters` that a recipe names is a line by itself, so that none are merged."""
    if characters := context.settings.get("characters", ""):
        return list(characters)
    count, seed = context.settings.get("lines", 20_000), context.settings.get("seed", 0)
    return world_lines(count // 10 + 1, seed + 1) if held_out else world_lines(count, seed)


def run(context: Context) -> dict[str, float]:
    """Train and write `text_tokenizer.model`; what is there already is kept."""
    path = context.folder / TEXT_FILE
    if not path.exists():
        made = TextTokenizer.train(_lines(context), context.preset.text.vocab_size)
        export(lambda partial: made.save(partial / TEXT_FILE), context.folder)
    tokenizer, lines = TextTokenizer.load(path), _lines(context, held_out=True)
    ids = sum(len(tokenizer.encode(line)) for line in lines)
    return {
        "vocab_size": float(tokenizer.vocab_size),
        "characters_per_token": sum(map(len, lines)) / ids,
    }
