"""Turn mode, as a server's clients use it: one message, in any order, and its answer.

Voices, backgrounds and sizes of pictures are held out, as in the scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from quintet.config import SAMPLE_RATE
from quintet.data.documents import TRANSCRIBE
from quintet.data.world.grammar import KINDS, how_many, request
from quintet.data.world.pictures import picture_of_several, render_picture
from quintet.data.world.things import MOST_THINGS, THINGS, with_article
from quintet.evals.counting import numbers_in
from quintet.evals.live_scores import names_only
from quintet.evals.recognizer import word_errors
from quintet.evals.scores import Score, ratio, share
from quintet.live.turns import TurnReply
from quintet.media.speech import random_voice, synthesize

LONGEST_SILENCE = 1.0  # seconds before the speech, and after it
PEAKS = (0.1, 0.9)  # of a spoken line


class Chatting(Protocol):
    """What scoring needs of `quintet.live.Quintet`."""

    def chat(self, messages: Sequence[dict[str, object]], seed: int = 0) -> TurnReply: ...


def in_turns(
    model: Chatting, sees: Callable[[np.ndarray], str], count: int, seed: int = 0
) -> dict[str, Score]:
    """Every score, of so many messages of each kind; `sees` names the thing of a picture."""
    written, named, counted = list[tuple[int, int]](), list[bool](), list[bool]()
    typed, spoken = list[bool](), list[bool]()
    for index in range(count):
        rng = np.random.default_rng((seed, index, 37))
        line = request(str(rng.choice(KINDS)), rng).text
        heard = _answer(model, rng, str(rng.choice(TRANSCRIBE)), _spoken(line, rng))
        written.append(word_errors(line, heard.text))
        thing = THINGS[int(rng.integers(len(THINGS)))]
        picture = render_picture(thing, rng, "test")
        named.append(names_only(_answer(model, rng, "what is this?", picture).text, thing.name))
        order = f"draw {with_article(thing.name)}."
        for right, asked in ((typed, order), (spoken, _spoken(order, rng))):
            pictures = _answer(model, rng, asked).images
            right.append(bool(pictures) and sees(pictures[0]) == thing.name)
        rng = np.random.default_rng((seed, index, 38))  # of its own: the rest stays as it was
        some = how_many(rng)
        assert some.thing is not None
        picture, _ = picture_of_several(some.thing, some.count, rng, "test")
        said = _answer(model, rng, some.text, picture).text
        counted.append(numbers_in(said) == numbers_in(some.reply))
    guess = 1 / len(THINGS)
    return {
        "messages_transcribed_word_error_rate": ratio(written),
        "messages_name_what_is_shown": share(named, guess),
        "messages_count_what_is_shown": share(counted, 1 / MOST_THINGS),
        "messages_draw_asked_by_text": share(typed, guess),
        "messages_draw_asked_by_voice": share(spoken, guess),
    }


def _answer(model: Chatting, rng: np.random.Generator, *parts: object) -> TurnReply:
    given = [parts[index] for index in rng.permutation(len(parts))]
    return model.chat([{"role": "user", "content": given}], seed=int(rng.integers(1 << 31)))


def _spoken(line: str, rng: np.random.Generator) -> np.ndarray:
    """A line in a held-out voice; around every other one as long a silence as a recording has."""
    sound = synthesize(line, random_voice(rng, "test"))
    sound = sound * np.float32(rng.uniform(*PEAKS) / np.abs(sound).max())
    before, after = rng.integers(0, round(LONGEST_SILENCE * SAMPLE_RATE), 2) * rng.integers(2)
    return np.pad(sound, (int(before), int(after)))
